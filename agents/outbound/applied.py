"""Which outputs of the fold a reader has applied.

After a crash the fold repeats outputs, with the same positions and the same content.  The outputs of
one journal partition arrive in order, so what is not above the highest position that was applied is a
repetition.
"""

from collections.abc import Iterable

from schemas.headers import Position


class Applied:
    """The highest applied position of each journal partition, for one partition of one topic."""

    def __init__(self, highest: Iterable[Position] = ()) -> None:
        """Begin with what was applied before, nothing by default."""
        self._highest = {position.partition: position for position in highest}

    def admit(self, position: Position) -> bool:
        """Return whether an output is to be applied, and remember it."""
        highest = self._highest.get(position.partition)
        if highest is not None and position <= highest:
            return False
        self._highest[position.partition] = position
        return True

    def copy(self) -> "Applied":
        """Return what was applied until now."""
        return Applied(self._highest.values())

    def __str__(self) -> str:
        """Return it as text, e.g. `0/17/1 3/4/0`: about 12 bytes a journal partition."""
        return " ".join(bytes(self._highest[partition]).decode() for partition in sorted(self._highest))

    @classmethod
    def parse(cls, text: str) -> "Applied":
        """Read such a text; ValueError when it is anything else."""
        return cls(Position.parse(part.encode()) for part in text.split())
