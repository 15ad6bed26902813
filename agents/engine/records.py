"""What goes into a step and what comes out of it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """One record read from a log; aiokafka's `ConsumerRecord` satisfies it without a copy."""

    @property
    def topic(self) -> str:
        """Topic that the record was read from."""

    @property
    def partition(self) -> int:
        """Partition that the record was read from."""

    @property
    def offset(self) -> int:
        """Offset within the partition."""

    @property
    def timestamp(self) -> int:
        """Append or create time, milliseconds since 1970."""

    @property
    def key(self) -> bytes | None:
        """Key, or None."""

    @property
    def value(self) -> bytes | None:
        """Value, or None for a tombstone."""

    @property
    def headers(self) -> Headers:
        """Headers in their order."""


class Output(NamedTuple):
    """What a step sends; a plain tuple of the first four or all five fields does as well.

    `partition` None lets the engine choose by the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None


class Entry(NamedTuple):
    """One record to be appended to a partition that is already chosen."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


PlainEntry: TypeAlias = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""An entry without names.  The hot path makes these: a plain tuple costs a fifth of a named one to make."""


def size_of(entries: Sequence[PlainEntry]) -> int:
    """Return an upper bound of the encoded size of entries, bytes."""
    bound = 40 * len(entries)
    for key, value, headers in entries:
        bound += len(key or b"") + len(value or b"")
        for name, content in headers:
            bound += 10 + len(name) + len(content or b"")  # a header may be null
    return bound
