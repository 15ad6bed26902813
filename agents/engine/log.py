"""The log that the engine speaks to: Kafka in production, memory in simulation, one contract for both."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from agents.engine.records import PlainEntry, Record


class Bounds(NamedTuple):
    """First offset that is kept, and the offset that the next append will get."""

    begin: int
    end: int


class Log(Protocol):
    """Partitioned, append-only topics.

    Appends of one caller to one partition keep their order.  An append that raises may have
    happened or may happen later; only `abandon` ends that doubt for this process.
    """

    async def append(self, topic: str, partition: int, entries: Sequence[PlainEntry]) -> int:
        """Append all entries or none as one batch; return the offset of the first.

        Raises BatchTooLarge if they do not fit into one batch, SendAbandoned if no
        acknowledgement came within the time allowed.
        """

    def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """Yield runs of records with start <= offset < end; compaction may leave gaps.

        Raises OffsetGone if the partition begins behind `start` or ends before `end`.
        """

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """Return the kept range of a partition."""

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions; raise Refused if the topic does not exist."""

    async def abandon(self) -> None:
        """Give up every unacknowledged append without flushing it and start afresh."""

    def now_ms(self) -> int:
        """Return the clock that append times are compared with: the brokers', as far as an append has told it.

        Milliseconds since 1970; before the first append it may be as wrong as this machine's clock.
        """
