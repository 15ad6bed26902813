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
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from aiokafka import TopicPartition
from msgspec.structs import replace

from agents.errors import AttuneError
from agents.view import Away, Mark, Write, source
from agents.views import build
from agents.views.documents import Derive, Message
from agents.views.runs import FenceOf, StateRun
from agents.views.sources import made_of
from agents.views.statetopic import Repair, StateTopic
from schemas import topics

logger = logging.getLogger(__name__)

T = TypeVar("T")

_KEEP_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 1.0

Told = Callable[[str, int, int], None]
"""Told the topic that is being read, how many of its records were, and how many there are."""


class Store(Protocol):
    """Where the views are kept; see agents.clients.viewstore."""

    async def start_building(self) -> str | None:
        """Make a generation beside the one in use; None while another rebuild is at work."""

    async def keep_building(self, generation: str) -> None:
        """Say that the rebuild is still at work; raises Moved."""

    async def set_partitions(self, generation: str, numbers: Mapping[str, int], *, building: bool) -> None:
        """Say by topic over how many partitions the views are made."""

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

    async def sweep(self, *, whole: bool = False) -> int:
        """Remove every generation that is neither in use nor being built, with `whole` also unlisted ones."""


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

    Raises what the store and the clients do; the views in use are then as they were.  What a rebuild leaves that is
    killed, the next one removes, or an agent.
    """
    begun = time.monotonic()
    generation = await store.start_building()
    if generation is None:
        raise AttuneError(
            "another rebuild is at work",
            "wait until it has ended; one that was killed is out of the way after a minute",
        )
    rebuilding = _Rebuilding(store, log, derive, generation, told)
    try:
        replaced = await kept(store, generation, rebuilding.run())
    except BaseException:
        with contextlib.suppress(Away):  # then an agent removes it, or the next rebuild
            await store.give_up(generation)
        raise
    try:
        await store.sweep(whole=True)
    except Away as error:
        logger.warning("the new views are in use; an agent will remove the old ones: %s", error)
    return Rebuilt(generation, replaced, rebuilding.customers, rebuilding.published, time.monotonic() - begun)


async def kept(store: Store, generation: str, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does, and keep the sign meanwhile that a rebuild is at work.

    Raises Moved, and ends the work, as soon as another rebuild has taken over; waits where the store is away.
    """
    working, keeping = asyncio.ensure_future(work), asyncio.ensure_future(_keep(store, generation))
    try:
        await asyncio.wait([working, keeping], return_when=asyncio.FIRST_COMPLETED)
        if keeping.done() and not working.done():
            keeping.result()
        return await working
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.wait([working, keeping])


async def _keep(store: Store, generation: str) -> None:
    while True:
        await asyncio.sleep(_KEEP_SECONDS)
        while True:
            try:
                await store.keep_building(generation)
                break
            except Away as error:
                logger.warning("the rebuild cannot say that it is at work, and tries again: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)


class _Rebuilding:
    def __init__(self, store: Store, log: Log, derive: Derive, generation: str, told: Told | None) -> None:
        self._store = store
        self._log = log
        self._derive = derive
        self._generation = generation
        self._topic = StateTopic(log.topic_reader)
        self._repair: Repair | None = None
        self._told = told
        self.customers = 0

    @property
    def published(self) -> int:
        """How many records of the topic were written again."""
        return 0 if self._repair is None else self._repair.published

    async def run(self) -> str | None:
        """Do all of it; return the generation that was replaced."""
        await self._store.sweep()  # what a rebuild left that was killed is in the way: this one needs the memory
        counts = self._log.counts
        await self._store.set_partitions(self._generation, made_of(counts), building=True)
        await self._topic.begin(counts[topics.CUSTOMER_STATE])
        await self._topic.read_on()
        self._repair = repair = Repair(self._topic, self._log.producer, self._log.place)
        for number in range(counts[topics.FOLD_CHANGELOG]):
            await self.states(TopicPartition(topics.FOLD_CHANGELOG, number), repair)
        for name in (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS):
            for number in range(counts[name]):
                await self.outputs(TopicPartition(name, number))
        await repair.finish()
        return await self._store.switch(self._generation)

    async def states(self, tp: TopicPartition, repair: Repair) -> None:
        """Write a whole partition of the changelog."""
        now_ms = int(time.time() * 1_000)
        journal = TopicPartition(topics.JOURNAL, tp.partition)
        end = (await self._log.reader.end_offsets([journal]))[journal]
        run = StateRun(self._log.fence_of, self._log.watermark)
        await build.read(self._log.reader, tp, run, await self._progress(tp))
        mark = build.mark_of(run, scored=True)

        async def publish(customer: str, _position: str, message: Message) -> None:
            await repair.state(customer, message)

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
