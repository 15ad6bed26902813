"""The interactions of one partition in ten bytes each: what is known of them, and the digest of their content."""

from array import array
from collections.abc import Iterator
from typing import Final

PRESENT: Final = 1
"""There is a record at the offset."""

ROUTED: Final = 2
"""The journal has it, and the fold counts it."""

DEAD: Final = 4
"""The dead-letter topic has it."""

WATERMARK: Final = 8
"""It is a watermark: it goes to every partition of the journal."""

BY_FIELDS: Final = 16
"""The router wrote it anew (personal data sealed, or a foreign schema), so that fields are compared, not bytes."""

REFUSED: Final = 32
"""No journal record can come of it: its key names no customer, or it cannot be read."""


class Ledger:
    """Marks and digests by offset."""

    __slots__ = ("_digests", "_marks", "begin")

    def __init__(self, begin: int, count: int) -> None:
        """Take the first offset and how many there are."""
        self.begin = begin
        self._marks = bytearray(count)
        self._digests = array("Q", bytes(8 * count))

    @property
    def end(self) -> int:
        """The offset behind the last."""
        return self.begin + len(self._marks)

    def enter(self, offset: int, marks: int, digest: int) -> None:
        """Note a record."""
        index = offset - self.begin
        self._marks[index] = marks | PRESENT
        self._digests[index] = digest

    def mark(self, offset: int, marks: int) -> None:
        """Add marks to a record."""
        self._marks[offset - self.begin] |= marks

    def marks(self, offset: int) -> int:
        """Return the marks of an offset; 0 where there is no record."""
        return self._marks[offset - self.begin]

    def digest(self, offset: int) -> int:
        """Return the digest of a record."""
        return self._digests[offset - self.begin]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over offset and marks of every record."""
        return ((offset, marks) for offset, marks in enumerate(self._marks, self.begin) if marks)
