"""A log in memory, for simulation and tests; it keeps the contract of `Log` without a broker."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from agents.engine.errors import BatchTooLarge, OffsetGone, Refused
from agents.engine.log import Bounds
from agents.engine.records import Headers, PlainEntry, Record, size_of


class MemoryRecord(NamedTuple):
    """One record of a memory log."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


_offset = attrgetter("offset")


class MemoryLog:
    """Topics as lists.  `max_batch_bytes` bounds one append as a broker's message limit does."""

    def __init__(self, topics: dict[str, int], *, max_batch_bytes: int = 2_000_000) -> None:
        """Take the number of partitions of every topic."""
        self._counts = dict(topics)
        self._max = max_batch_bytes
        self._records: dict[tuple[str, int], list[MemoryRecord]] = {
            (topic, partition): [] for topic, count in topics.items() for partition in range(count)
        }
        self._ends: dict[tuple[str, int], int] = {}
        self._begins: dict[tuple[str, int], int] = {}
        self._cleaned: defaultdict[tuple[str, int], dict[int, int]] = defaultdict(dict)
        """Of each partition the tombstones that a compaction has kept, and when the first one did."""
        self.clock_ms = 1_000_000

    async def append(self, topic: str, partition: int, entries: Sequence[PlainEntry]) -> int:
        """Append at once; see `Log.append`."""
        return self.append_now(topic, partition, entries)

    def append_now(self, topic: str, partition: int, entries: Sequence[PlainEntry]) -> int:
        """Append without waiting; return the offset of the first entry."""
        size = size_of(entries)
        if size > self._max:
            raise BatchTooLarge(f"{size} bytes do not fit into a batch of {self._max} for {topic}")
        place = (topic, partition)
        base = self._ends.get(place, 0)
        kept = self._records[place]
        for index, (key, value, headers) in enumerate(entries):
            kept.append(MemoryRecord(topic, partition, base + index, self.clock_ms, key, value, tuple(headers)))
        self._ends[place] = base + len(entries)
        return base

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """Yield one run; see `Log.read`."""
        await self.holds(topic, partition, start, end)
        run = self.between(topic, partition, start, end)
        if run:
            yield run

    async def holds(self, topic: str, partition: int, start: int, end: int) -> None:
        """Raise OffsetGone if the range is not empty and not within what is kept."""
        kept = await self.bounds(topic, partition)
        if start < end and not kept.begin <= start < end <= kept.end:
            raise OffsetGone(f"{topic}/{partition} holds {kept.begin} to {kept.end}, not {start} to {end}")

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """See `Log.bounds`."""
        place = (topic, partition)
        return Bounds(self._begins.get(place, 0), self._ends.get(place, 0))

    async def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        if topic not in self._counts:
            raise Refused(f"topic {topic} does not exist: create it before the worker starts")
        return self._counts[topic]

    async def abandon(self) -> None:
        """Nothing is ever unacknowledged here."""

    def now_ms(self) -> int:
        """Return the simulated clock."""
        return self.clock_ms

    def records(self, topic: str, partition: int) -> list[MemoryRecord]:
        """Return what a partition holds."""
        return list(self._records[topic, partition])

    def between(self, topic: str, partition: int, start: int, end: int) -> list[MemoryRecord]:
        """Return the records with start <= offset < end."""
        records = self._records[topic, partition]
        return records[bisect_left(records, start, key=_offset) : bisect_left(records, end, key=_offset)]

    def compact(self, topic: str, partition: int, *, lag_ms: int, tombstone_ms: int | None = None) -> None:
        """Keep the last offset of each key, as a broker does, in what stands before the first record within the lag.

        What is younger replaces nothing yet. A tombstone that an earlier compaction has kept `tombstone_ms` ago goes
        too, None keeps them for ever: whoever reads for less than that has read nothing that it removed (KIP-534).
        """
        place = (topic, partition)
        records = self._records[place]
        limit = self.clock_ms - lag_ms
        gone = -1 if tombstone_ms is None else self.clock_ms - tombstone_ms
        clean = next((index for index, one in enumerate(records) if one.timestamp > limit), len(records))
        last = {record.key: record.offset for record in records[:clean]}
        kept = [record for record in records[:clean] if record.offset == last[record.key]]
        since = self._cleaned[place]
        kept = [one for one in kept if one.value is not None or since.get(one.offset, self.clock_ms) > gone]
        self._cleaned[place] = {one.offset: since.get(one.offset, self.clock_ms) for one in kept if one.value is None}
        self._records[place] = kept + records[clean:]

    def lose(self, topic: str, partition: int, end: int) -> None:
        """Lose what lies at `end` and behind, as an unclean leader does; from 0 on, as a topic that is made anew."""
        place = (topic, partition)
        self._cleaned[place].clear()
        self._begins[place] = min(self._begins.get(place, 0), end)
        self._ends[place] = min(self._ends.get(place, 0), end)
        self._records[place] = [record for record in self._records[place] if record.offset < end]

    def truncate(self, topic: str, partition: int, begin: int) -> None:
        """Delete what lies before `begin`, as retention does."""
        place = (topic, partition)
        self._begins[place] = begin
        self._records[place] = [record for record in self._records[place] if record.offset >= begin]
