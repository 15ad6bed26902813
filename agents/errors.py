"""Errors that a person at a terminal reads: what is wrong, and what to do next."""


class AttuneError(Exception):
    """A failure that is explained; `hint` says what to do next.  The command line prints both and exits with 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AttuneError):
    """Something that the user typed or set is wrong; the command line exits with 2."""
