"""The view agent: follows what the fold wrote and keeps Redis and the topic of states as it says.

Redis says by its marks how far it contains each partition, and a restart goes on from there: a Redis that was emptied,
or came back from an older copy, is filled again from where it stands.  The group's offsets say how far the topic does.
Everything is written by position, so that nothing needs an end in order: what was in flight when a partition was taken
away, or a process killed, is written once more by whoever has it next.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from agents.view import COPYING, Away, Mark, Moved, Write
from agents.views.clients import Counters, Log, Store
from agents.views.documents import Derive, Derived, document_of, partition_of
from agents.views.opening import Opening
from agents.views.patience import Patience
from agents.views.runs import OutputRun, StateRun
from agents.views.sources import READ, Source, made_of
from streams.partition import Partition

logger = logging.getLogger(__name__)

_POLL_MS: Final = 100
_GATHER_SECONDS: Final = 0.01
"""A pause after each round, so that the next one has more to do: rounds of a few records cost most of their time."""
_LOOK_SECONDS: Final = 1.0
_FLUSH_SECONDS: Final = 4.0
"""Bounds the last publishing: with the closing of all clients it must fit into what a supervisor grants."""
_SWEEP_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 2.0
"""How long a partition rests that had trouble: another agent may just be taking it over."""


class Taken(NamedTuple):
    """A run of one partition, and what it changes; `derived` are its states. `oldest_ms` is its first append time."""

    source: Source
    run: StateRun | OutputRun
    oldest_ms: int
    writes: Sequence[Write]
    derived: Sequence[Derived]


class ViewAgent:
    """Keeps the views; `run` until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        log: Log,
        documents: Mapping[str, bytes],
        publish_seconds: float = 0.5,
        on_lag: Callable[[float], None] = lambda _seconds: None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1_000),
    ) -> None:
        """Take store and log, documents by SHA-256 (the mapping may fill up), and how often states are published.

        `on_lag` is told of each run how many seconds old its first record was when it was in the store.
        """
        self.counters = Counters()
        self._store = store
        self._log = log
        self._derive = Derive(documents)
        self._on_lag = on_lag
        self._now_ms = now_ms
        self._patience = Patience(self.counters)
        self._opening = Opening(
            store, log, self._derive, self._patience, self.counters, publish_seconds=publish_seconds
        )
        self._generation = ""
        self._sources: dict[TopicPartition, Source] = {}
        self._starting: dict[TopicPartition, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()

    @property
    def sources(self) -> Mapping[TopicPartition, Source]:
        """The partitions at work."""
        return self._sources

    async def run(self) -> None:
        """Follow the log until cancelled; an error that nothing mends ends it."""
        self._log.consumer.subscribe(READ, listener=_Ownership(self))
        try:
            async with self._tasks:
                self._tasks.create_task(self._look())
                self._tasks.create_task(self._sweep())
                while True:
                    fetched = await self._log.consumer.getmany(timeout_ms=_POLL_MS)
                    await self._round(fetched)
                    if fetched:
                        await asyncio.sleep(_GATHER_SECONDS)
        finally:
            await self._flush()
            self.forget()
            await self._opening.closed()

    def begin(self, assigned: Sequence[TopicPartition], delay: float = 0.0) -> None:
        """Start partitions, each by itself; they are read when they are ready."""
        self._log.consumer.pause(*assigned)
        for tp in assigned:
            task = self._spawn(self._start(tp, delay))
            if task is not None:
                self._starting[tp] = task

    def forget(self) -> None:
        """Stop everything of every partition: others may have them."""
        for task in self._starting.values():
            task.cancel()
        self._starting.clear()
        for source in self._sources.values():
            self._end(source)
        self._sources.clear()

    async def _flush(self) -> None:
        """Publish what waits, of all partitions at once and for a while only: whoever has them next does the rest."""
        flushing = [asyncio.ensure_future(one.publisher.flush()) for one in self._sources.values() if one.publisher]
        if not flushing:
            return
        done, late = await asyncio.wait(flushing, timeout=_FLUSH_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        failed = [task for task in done if task.exception() is not None]
        if failed or late:
            logger.warning(
                "states of %d partitions were not published before the end; whoever has them next does it%s",
                len(failed) + len(late),
                "".join(f": {task.exception()!r}" for task in failed[:1]),
            )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
        """Begin something that ends with the agent; None if the agent is ending already."""
        try:
            return self._tasks.create_task(work)
        except RuntimeError:  # the group says so, and leaves the coroutine to us
            work.close()
            return None

    def _end(self, source: Source) -> None:
        for task in (source.publishing, source.scoring):
            if task is not None:
                task.cancel()
        if source.publisher is not None:
            self._opening.close(source.publisher)

    def _again(self, tps: Iterable[TopicPartition], delay: float = 0.0) -> None:
        """Begin partitions anew from what stands in the store."""
        known = [tp for tp in tps if tp in self._sources]
        for tp in known:
            self._end(self._sources.pop(tp))
        self.begin(known, delay)

    async def _start(self, tp: TopicPartition, delay: float) -> None:
        await asyncio.sleep(delay)
        while True:
            try:
                source = await self._opened(tp)
                break
            except (KafkaError, TimeoutError, Moved) as error:
                logger.warning("%s/%d cannot begin yet: %r", *tp, error)
                await asyncio.sleep(_AGAIN_SECONDS)
        del self._starting[tp]
        self._sources[tp] = source
        publisher = source.publisher
        self._log.consumer.seek(tp, source.mark.next if publisher is None else min(source.mark.next, publisher.next))
        self._log.consumer.resume(tp)
        self.counters.starts += 1
        if publisher is not None:
            source.publishing = asyncio.create_task(publisher.run())
            source.publishing.add_done_callback(lambda task: self._on_published(source, task))

    async def _opened(self, tp: TopicPartition) -> Source:
        """Return a partition that is ready, of the generation in use; errors as `Opening.open`."""
        generation = self._generation = await self._patience.until(self._store.begin)
        numbers = made_of({topic: len(self._log.consumer.partitions_for_topic(topic) or ()) for topic in READ})
        await self._patience.until(lambda: self._store.set_partitions(generation, numbers))
        return await self._opening.open(generation, tp)

    def _on_published(self, source: Source, task: "asyncio.Task[None]") -> None:
        """Begin a partition again, a little later, whose states could not be published."""
        if task.cancelled() or self._sources.get(source.tp) is not source:
            return
        logger.warning("%s: states could not be published, beginning again: %r", source.name, task.exception())
        self._again([source.tp], _AGAIN_SECONDS)

    async def _round(self, fetched: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Apply what was fetched, then say so: Redis is asked twice, however many partitions there are."""
        try:
            taken = []
            for tp, records in sorted(fetched.items()):
                source = self._sources.get(tp)
                if source is not None:
                    taken.append(await self._taken(source, records))
            await self._apply(taken)
            await self._remark()
        except Moved as error:
            logger.warning("%s; going on with the ones that are", error)
            self._again(list(self._sources))

    async def _taken(self, source: Source, records: Sequence[Any]) -> Taken:
        """Work out what a run of one partition changes."""
        if not source.of_states:
            outputs = OutputRun()
            outputs.take(records)
            return Taken(source, outputs, records[0].timestamp, outputs.writes(source.tp.topic), [])
        run = StateRun(self._log.fence_of, self._log.watermark)
        run.take(records)
        own: Partition | None = None
        if run.own is not None:
            encoded = run.own[1]
            own = await self._patience.until_done(lambda: partition_of(encoded))
        if own is not None and run.own is not None and run.own[0] >= source.mark.position:
            source.copying = own.copying
            if own.copying:
                source.change(scored_by=COPYING)
            policy, model = document_of(own.policy), document_of(own.model)
            source.change(clock_ms=own.clock_ms, policy=policy, model=model, split_to=own.split_to)
        derived = await self._patience.until_done(lambda: self._derived(source, run, own))
        return Taken(source, run, records[0].timestamp, [one.write for one in derived], derived)

    def _derived(self, source: Source, run: StateRun, own: Partition | None) -> list[Derived]:
        number, model = source.tp.partition, source.mark.model
        shown = run.shown(number, own)
        return [self._derive.state(number, key, fence, value, model) for key, (fence, value) in shown.items()]

    async def _apply(self, taken: Sequence[Taken]) -> None:
        writes = [write for one in taken for write in one.writes]
        results = await self._patience.until(lambda: self._store.apply(self._generation, writes))
        now_ms, counters, start = self._now_ms(), self.counters, 0
        for one in taken:
            source, run = one.source, one.run
            if isinstance(run, StateRun):
                counters.older += source.publish(one.derived, results[start : start + len(one.writes)], run.next)
                counters.states += len(one.writes)
                source.change(position=max(source.mark.position, run.ended))
            else:
                counters.outputs += sum(map(len, run.entries.values()))
            start += len(one.writes)
            source.advance(run)
            counters.records += run.records
            counters.refused += run.refused
            self._on_lag(max(0.0, (now_ms - one.oldest_ms) / 1_000))

    async def _remark(self) -> None:
        """Write the marks that have changed; begin a source again where another one stands there."""
        changed: list[tuple[Source, Mark]] = []
        for source in self._sources.values():
            if source.unscored and source.scoring is None and not source.copying:
                source.scoring = self._spawn(self._score(source))
            source.show()
            if source.mark != source.marked:
                changed.append((source, source.mark))
        if not changed:
            return
        wanted = [(source.name, mark, source.stored) for source, mark in changed]
        answers = await self._patience.until(lambda: self._store.mark_all(self._generation, wanted))
        for (source, mark), (stored, ours) in zip(changed, answers, strict=True):
            source.stored, source.marked = stored, mark
            if not ours and self._sources.get(source.tp) is source:
                logger.info("%s: the store has another mark than the last one written; going on from it", source.name)
                self._again([source.tp])

    async def _score(self, source: Source) -> None:
        """Derive every state again, scored by the model that has become active."""
        try:
            await self._opening.build(self._generation, source)
        except (KafkaError, TimeoutError, Moved) as error:
            logger.warning("%s: scoring by the new model begins again: %r", source.name, error)
            await asyncio.sleep(_AGAIN_SECONDS)
        source.scoring = None

    async def _look(self) -> None:
        """Ask once a second where the partitions end: what is applied to there is fresh."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now_ms, sources = self._now_ms(), [(source, source.reached) for source in self._sources.values()]
            try:
                ends = await self._log.consumer.end_offsets([source.looked_at for source, _ in sources])
                outputs = {one.tp: one.mark.next for one, _ in sources if not one.of_states and one.mark.next}
                if outputs:  # for those who watch lag; a restart goes by the marks
                    await self._log.consumer.commit(outputs)
            except (KafkaError, TimeoutError) as error:
                logger.warning("where the partitions end is not known now: %r", error)
                continue
            for source, reached in sources:
                source.look(now_ms, ends[source.looked_at], reached)

    async def _sweep(self) -> None:
        """Remove now and then what rebuilds have left that died."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                removed = await self._store.sweep()
            except Away as error:
                logger.info("generations that nobody needs are looked for later: %s", error)
                continue
            if removed:
                logger.info("%d generations that nobody needs were removed from the store", removed)


class _Ownership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Tells the agent which partitions are its own; nothing is waited for here, since heartbeats stop meanwhile."""

    def __init__(self, agent: ViewAgent) -> None:
        self._agent = agent

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget everything: whoever has the partitions next goes on from the marks."""
        del revoked
        self._agent.forget()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start the partitions."""
        self._agent.begin(list(assigned))
