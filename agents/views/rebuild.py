"""The views from the log: a generation of its own beside the one in use, then one switch; the topic in place.

A generation of its own and not in place: what is in Redis may be wrong in any way, and a position that is too high (of
a journal that was made anew) would keep every true one out.  Readers see the old views, whole, until they see the new
ones, whole; the price is twice the memory for as long as it takes.  Agents go on with the old ones, find at their next
write that they were replaced, and go on from the marks of the new ones: what came meanwhile is written then.  The topic
has no such switch, so there each record that differs is written again.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from aiokafka import TopicPartition
from msgspec.structs import replace

from agents.errors import AttuneError
from agents.view import Mark, Write, source
from agents.views import build
from agents.views.documents import Derive, Message
from agents.views.runs import FenceOf, StateRun
from agents.views.statetopic import Repair, StateTopic
from schemas import topics

_KEEP_SECONDS: Final = 10.0

Told = Callable[[str, int, int], None]
"""Told the topic that is being read, how many of its records were, and how many there are."""


class Store(Protocol):
    """Where the views are kept; see agents.clients.viewstore."""

    async def start_building(self) -> str | None:
        """Make a generation beside the one in use; None while another rebuild is at work."""

    async def keep_building(self, generation: str) -> None:
        """Say that the rebuild is still at work; raises Moved."""

    async def apply(self, generation: str, writes: Sequence[Write], *, building: bool) -> list[int]:
        """Apply writes by position."""

    async def mark(
        self, generation: str, source: str, mark: Mark, known: bytes, *, building: bool
    ) -> tuple[bytes, bool]:
        """Replace a mark."""

    async def switch(self, generation: str) -> str | None:
        """Put the generation into use; return the one that was."""

    async def give_up(self, generation: str) -> None:
        """Remove a generation that is not in use."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """How the log is read: clients that are started, numbers of partitions, the fold's own marks."""

    reader: Any
    topic_reader: Any
    producer: Any
    counts: Mapping[str, int]
    fence_of: FenceOf
    watermark: bytes
    place: Callable[[bytes], int]
    """Partition of a customer's key in the topic of states."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    generation: str
    replaced: str | None
    customers: int
    published: int
    seconds: float


async def rebuild(store: Store, log: Log, derive: Derive, told: Told | None = None) -> Rebuilt:
    """Rebuild Redis and the topic from the log; raises AttuneError while another rebuild is at work.

    Raises what the store and the clients do; the views in use are then as they were.
    """
    begun = time.monotonic()
    generation = await store.start_building()
    if generation is None:
        raise AttuneError(
            "another rebuild is at work",
            "wait until it has ended; one that was killed is out of the way after a minute",
        )
    try:
        async with _kept(store, generation):
            topic = StateTopic(log.topic_reader)
            await topic.begin(log.counts[topics.CUSTOMER_STATE])
            await topic.read_on()
            repair = Repair(topic, log.producer, log.place)
            rebuilding = _Rebuilding(store, log, derive, generation, repair, told)
            for number in range(log.counts[topics.FOLD_CHANGELOG]):
                await rebuilding.states(TopicPartition(topics.FOLD_CHANGELOG, number))
            for name in (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS):
                for number in range(log.counts[name]):
                    await rebuilding.outputs(TopicPartition(name, number))
            await repair.finish()
            replaced = await store.switch(generation)
    except BaseException:
        await store.give_up(generation)
        raise
    if replaced is not None:
        await store.give_up(replaced)
    return Rebuilt(generation, replaced, rebuilding.customers, repair.published, time.monotonic() - begun)


class _Rebuilding:
    def __init__(
        self, store: Store, log: Log, derive: Derive, generation: str, repair: Repair, told: Told | None
    ) -> None:
        self._store = store
        self._log = log
        self._derive = derive
        self._generation = generation
        self._repair = repair
        self._told = told
        self.customers = 0

    async def states(self, tp: TopicPartition) -> None:
        """Write a whole partition of the changelog."""
        now_ms = int(time.time() * 1_000)
        journal = TopicPartition(topics.JOURNAL, tp.partition)
        end = (await self._log.reader.end_offsets([journal]))[journal]
        run = StateRun(self._log.fence_of, self._log.watermark)
        await build.read(self._log.reader, tp, run, await self._progress(tp))
        mark = build.mark_of(run, scored=True)

        async def publish(customer: str, _position: str, message: Message) -> None:
            await self._repair.state(customer, message)

        await build.write_states(run, tp.partition, mark.model, self._derive, self._apply, publish)
        self.customers += sum(value is not None for _, value in run.states.values())
        await self._mark(tp, replace(mark, shown_ms=now_ms if mark.position + 1 >= end else 0))

    async def outputs(self, tp: TopicPartition) -> None:
        """Write a whole partition of decisions or suppressions."""
        now_ms = int(time.time() * 1_000)
        mark = await build.write_outputs(self._log.reader, tp, self._apply, await self._progress(tp))
        await self._mark(tp, replace(mark, shown_ms=now_ms))

    async def _apply(self, writes: Sequence[Write]) -> list[int]:
        return await self._store.apply(self._generation, writes, building=True)

    async def _mark(self, tp: TopicPartition, mark: Mark) -> None:
        await self._store.mark(self._generation, source(*tp), mark, b"", building=True)

    async def _progress(self, tp: TopicPartition) -> build.Progress | None:
        if self._told is None:
            return None
        begin = (await self._log.reader.beginning_offsets([tp]))[tp]
        total, done, told = (await self._log.reader.end_offsets([tp]))[tp] - begin, 0, self._told

        def progress(count: int) -> None:
            nonlocal done
            done += count
            told(tp.topic, done, total)

        return progress


@contextlib.asynccontextmanager
async def _kept(store: Store, generation: str) -> AsyncIterator[None]:
    """Keep the sign that a rebuild is at work."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            await store.keep_building(generation)

    keeping = asyncio.ensure_future(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
