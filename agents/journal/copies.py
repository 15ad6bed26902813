"""Copies of what customers have in one journal partition, in those that they move to.

One writer, one batch after the other, each acknowledged before the next: the last record of a new partition says how
far its copies go, so that whoever goes on after a crash copies nothing twice. If a batch of a copier that died lands
late all the same, its records repeat what is there, and the fold passes over repetitions.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition

from agents.errors import AttuneError
from schemas import headers as names
from schemas import versions
from schemas.codec import EMBEDDED
from schemas.message import Message
from schemas.vocabulary import JournalKind
from streams import growth

Told = Callable[[int, int], None]
"""Told how many records of the old partitions were looked at, and how many there are."""

_INTERACTION = JournalKind.INTERACTION.value.encode()
_SPLIT = JournalKind.SPLIT.value.encode()
_CONTROL = versions.LATEST["Control"].fingerprint.encode()
_POLL_MS = 500


@dataclasses.dataclass(slots=True)
class Target:
    """A new partition: `next` is the offset of the old one from which on copies are missing, `end` its own end."""

    number: int
    source: int
    next: int = 0
    end: int = 0
    done: bool = False
    """Whether its Split stands at its end."""
    copied: int = 0
    """Records that were copied by this process."""


class Copies:
    """Copies from `before` partitions to those up to `after`, a multiple.

    `consumer` is aiokafka's, without a group; `producer` an idempotent one, None where nothing is to be written.
    Both are started.
    """

    def __init__(self, journal: str, before: int, after: int, consumer: Any, producer: Any) -> None:
        self._journal = journal
        self._before = before
        self._after = after
        self._consumer = consumer
        self._producer = producer
        self.targets = [Target(number, number % before) for number in range(before, after)]
        self.cuts: dict[int, int] = {}
        """Of each old partition the offset of its Split, once there is one."""
        self.looked_at = 0
        self.existing = 0

    async def open(self) -> None:
        """See how far each new partition is; AttuneError where somebody else has written into one."""
        tps = [TopicPartition(self._journal, target.number) for target in self.targets]
        self._consumer.assign(tps)
        ends = await self._consumer.end_offsets(tps)
        for target, tp in zip(self.targets, tps, strict=True):
            target.end = ends[tp]
            if target.end:
                self._consumer.seek(tp, target.end - 1)
                fetched: dict[Any, list[Any]] = {}
                while not fetched.get(tp):
                    fetched = await self._consumer.getmany(tp, timeout_ms=_POLL_MS)
                self._resume(target, fetched[tp][-1])
        old = self._old()
        self._consumer.assign(old)
        begins = await self._consumer.beginning_offsets(old)
        for tp, begin in begins.items():
            if begin:
                raise AttuneError(
                    f"{tp.topic}/{tp.partition} begins at {begin}: its first records are gone, and a copy without them "
                    "would give other states",
                    "restore the journal from a copy",
                )

    def _resume(self, target: Target, last: Message) -> None:
        headers = dict(last.headers)
        place = f"{self._journal}/{target.number}/{last.offset}"
        if names.COPIED in headers:
            source, offset = names.Copied.parse(headers[names.COPIED]).source
            if source != target.source:
                raise AttuneError(
                    f"{place} was copied from partition {source}, not from {target.source}: another split put it there",
                    "nothing can be made of these partitions; keep the number of partitions that the journal has",
                )
            target.next = offset + 1
        elif self._splits_here(headers, last):
            target.done = True
        else:
            raise AttuneError(
                f"{place} is no copy: something else writes into the new partitions",
                "see whether a router or a coordinator runs that takes the topic's size for the number of partitions",
            )

    async def catch_up(self, told: Told | None = None) -> int:
        """Copy to the ends of the old partitions as they are now; return how many records were looked at."""
        consumer, old = self._consumer, self._old()
        ends: dict[Any, int] = await consumer.end_offsets(old)
        consumer.assign(old)
        starts = {tp: self._start(tp.partition, ends[tp]) for tp in old}
        self.existing = sum(ends.values())
        for tp, start in starts.items():
            consumer.seek(tp, start)
        before = self.looked_at = sum(starts.values())
        waiting = {tp for tp in old if starts[tp] < ends[tp]}
        consumer.pause(*(set(old) - waiting))
        while waiting:
            fetched = await consumer.getmany(*waiting, timeout_ms=_POLL_MS)
            await asyncio.gather(*(self._copy_run(tp.partition, records) for tp, records in fetched.items()))
            self.looked_at += sum(map(len, fetched.values()))
            if told is not None:
                told(self.looked_at, max(self.existing, self.looked_at))
            for tp in list(waiting):
                if await consumer.position(tp) >= ends[tp]:
                    waiting.discard(tp)
                    consumer.pause(tp)
        return self.looked_at - before

    async def left(self) -> int:
        """Return how many records of the old partitions are to be looked at, their ends as they are now."""
        ends: dict[Any, int] = await self._consumer.end_offsets(self._old())
        return sum(end - self._start(tp.partition, end) for tp, end in ends.items())

    async def cut(self) -> None:
        """End the old partitions for those who move: append a Split to each that has none, after all was looked at."""
        await self.catch_up()
        for number in range(self._before):
            if number not in self.cuts and not self._all_done(number):
                await self._append(number, [_split(self._after, -1)])
        await self.catch_up()
        missing = [number for number in range(self._before) if number not in self.cuts and not self._all_done(number)]
        assert not missing, f"the Split of partitions {missing} is not where it was written"

    async def finish(self) -> None:
        """End the copies: append a Split to each new partition, which must have everything before the cut."""
        for target in self.targets:
            if not target.done:
                cut = self.cuts[target.source]
                assert target.next >= cut, f"partition {target.number} has copies up to {target.next}, not to {cut}"
                await self._append_to(target, [_split(self._after, cut)])
                target.done = True

    def _old(self) -> list[TopicPartition]:
        return [TopicPartition(self._journal, number) for number in range(self._before)]

    def _all_done(self, number: int) -> bool:
        return all(target.done for target in self.targets if target.source == number)

    def _start(self, number: int, end: int) -> int:
        return min((target.next for target in self.targets if target.source == number and not target.done), default=end)

    async def _copy_run(self, number: int, records: Sequence[Message]) -> None:
        for record in records:
            if number not in self.cuts and self._splits_here(dict(record.headers), record):
                self.cuts[number] = record.offset
        cut = self.cuts.get(number)
        records = [record for record in records if cut is None or record.offset < cut]
        if records:
            await asyncio.gather(
                *(self._copy(target, records) for target in self.targets if target.source == number and not target.done)
            )

    async def _copy(self, target: Target, records: Sequence[Message]) -> None:
        moving = [record for record in records if record.offset >= target.next and self._moves(record, target.number)]
        if self._producer is not None:
            await self._append_to(target, map(_copy_of, moving))
        target.copied += len(moving)
        target.next = max(target.next, records[-1].offset + 1)

    def _moves(self, record: Message, number: int) -> bool:
        if names.first(record.headers, names.KIND) != _INTERACTION:
            return True
        return growth.home(record.key or b"", self._after, -1) == number

    def _splits_here(self, headers: dict[str, Any], record: Message) -> bool:
        """Tell whether a record is the Split that this very work has written, in its old or its new partition."""
        if headers.get(names.KIND) != _SPLIT or names.COPIED in headers:
            return False
        return bool(EMBEDDED.decode(record.value, "Control")["body"]["split_to"] == self._after)

    async def _append_to(self, target: Target, entries: Iterable["Entry"]) -> None:
        for entry_run in _runs(self._producer, entries):
            base = await self._send(target.number, entry_run)
            if base != target.end:
                raise AttuneError(
                    f"{self._journal}/{target.number}: appended at {base}, expected {target.end}: something else "
                    "writes into the new partitions",
                    "see that only one `attune journal split` runs, then run it again; it goes on where it was",
                )
            target.end = base + entry_run.record_count()

    async def _append(self, number: int, entries: Iterable["Entry"]) -> None:
        for run in _runs(self._producer, entries):
            await self._send(number, run)

    async def _send(self, number: int, batch: Any) -> int:
        batch.close()
        sent = await self._producer.send_batch(batch, self._journal, partition=number)
        return int((await sent).offset)


Entry = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value, headers."""


def _copy_of(record: Message) -> Entry:
    known = names.first(record.headers, names.COPIED)
    places = () if known is None else names.Copied.parse(known).places
    copied = names.Copied((*places, (record.partition, record.offset)))
    kept = [header for header in record.headers if header[0] != names.COPIED]
    return record.key, record.value, [*kept, (names.COPIED, bytes(copied))]


def _split(split_to: int, cut: int) -> Entry:
    value = EMBEDDED.encode("Control", {"body": {"split_to": split_to, "cut": cut}})
    return None, value, [(names.KIND, _SPLIT), (names.SCHEMA, _CONTROL)]


def _runs(producer: Any, entries: Iterable[Entry]) -> Iterable[Any]:
    """Yield batches that hold all entries in their order."""
    batch = producer.create_batch()
    for key, value, headers in entries:
        if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            yield batch
            batch = producer.create_batch()
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                raise AttuneError(
                    f"a record of {len(value or b'')} bytes does not fit into a batch",
                    "raise the producer's max_batch_size",
                )
    if batch.record_count():
        yield batch
