"""Why a record cannot be folded, each with what follows from it."""


class BadEvent(ValueError):
    """A record that must not change any state; the engine dead-letters it with this reason and goes on.

    Its message names fields, types, times and positions, and no values that could be personal.
    """

    quotes_no_values = True


class DocumentMissing(LookupError):
    """An active document is not here yet; the engine pauses the partition, says so and asks again."""

    retry_later = True


class NewerLogic(RuntimeError):
    """The journal has activated a behaviour that only a newer release knows; the engine pauses the partition."""

    retry_later = True


class NewerState(ValueError):
    """A stored state was written by a newer release than this one."""


class MalformedState(ValueError):
    """Stored bytes that are no state of any known version."""
