"""How a partition comes to be followed: mark, publisher, and where there is nothing yet, all of it derived first."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiokafka import TopicPartition

from agents.view import COPYING, Mark, Write, source
from agents.views import build
from agents.views.clients import Counters, Log, Store
from agents.views.documents import Derive, Message
from agents.views.patience import Patience
from agents.views.publisher import Publisher
from agents.views.runs import StateRun
from agents.views.sources import Source
from schemas import topics

logger = logging.getLogger(__name__)

_CLOSE_SECONDS: Final = 15.0


class Opening:
    """Opens partitions, and derives the whole of one; closes publishers that are not wanted any more."""

    def __init__(
        self,
        store: Store,
        log: Log,
        derive: Derive,
        patience: Patience,
        counters: Counters,
        *,
        publish_seconds: float,
    ) -> None:
        self._store = store
        self._log = log
        self._derive = derive
        self._patience = patience
        self._counters = counters
        self._publish_seconds = publish_seconds
        self._one_at_a_time = asyncio.Semaphore(1)
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, generation: str, tp: TopicPartition) -> Source:
        """Return a partition that is ready to be followed.

        Waits for Redis however long. Raises KafkaError and TimeoutError, and Moved if the generation is replaced.
        """
        publisher = await self._publisher(tp) if tp.topic == topics.FOLD_CHANGELOG else None
        try:
            stored = (await self._patience.until(lambda: self._store.marks(generation))).get(source(*tp), b"")
            mark = self._log.parse_mark(stored)
            if mark is not None and publisher is not None and mark.split_to is None:
                mark = None  # of an older release: only the whole partition says whether it was split
            opened = Source(tp, mark or Mark(0), stored, publisher)
            if publisher is not None and not opened.mark.next:
                await self.build(generation, opened)
            elif publisher is None:
                begin = (await self._log.consumer.beginning_offsets([tp]))[tp]
                if 0 < opened.mark.next < begin:
                    _warn_of_gap(opened, begin)
                opened.change(next=max(opened.mark.next, begin))
        except BaseException:
            if publisher is not None:
                self.close(publisher)
            raise
        return opened

    async def build(self, generation: str, opened: Source) -> None:
        """Derive a whole partition of the changelog: where nothing is known of it, or when another model is active.

        Errors as `open`.
        """
        publisher = opened.publisher
        assert publisher is not None

        async def apply(writes: Sequence[Write]) -> list[int]:
            return await self._patience.until(lambda: self._store.apply(generation, writes))

        async def publish(customer: str, position: str, message: Message) -> None:
            publisher.add(customer, position, message)
            await publisher.room()

        first = not opened.mark.next
        async with self._one_at_a_time:  # each takes the memory of a partition
            run = StateRun(self._log.fence_of, self._log.watermark)
            reader = self._log.new_reader()
            try:
                await reader.start()
                await build.read(reader, opened.tp, run)
            finally:
                await reader.stop()
            mark = await self._patience.until_done(lambda: build.mark_of(run, scored=True))
            model = mark.model if first else opened.mark.model
            await self._patience.until(
                lambda: build.write_states(run, opened.tp.partition, model, self._derive, apply, publish)
            )
        if first:
            opened.mark = mark
            publisher.next = max(publisher.next, mark.next)
        else:
            await publisher.flush()
            if mark.scored_by != COPYING:
                opened.change(scored_by=None if model is None else model.sha256)
        self._counters.builds += 1
        logger.info("%s: %d customers derived from the whole of it", opened.name, len(run.states))

    def close(self, publisher: Publisher) -> None:
        """Close a publisher without waiting for it."""
        closing = asyncio.ensure_future(publisher.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def closed(self) -> None:
        """Wait until every publisher is closed."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS)

    async def _publisher(self, tp: TopicPartition) -> Publisher:
        producer = self._log.new_producer(f"{self._log.group}-{tp.partition}")
        publisher = Publisher(
            producer,
            topics.CUSTOMER_STATE,
            tp,
            group=self._log.group,
            seconds=self._publish_seconds,
            counters=self._counters,
        )
        try:
            await publisher.open(self._log.partition_of)
            committed = await self._log.consumer.committed(tp)
        except BaseException:
            self.close(publisher)
            raise
        publisher.begin(committed or 0)
        return publisher


def _warn_of_gap(opened: Source, begin: int) -> None:
    logger.error(
        "%s begins at %d but the views contain it only up to %d: what lay between is gone by retention, and recalls "
        "may have been among it; run `attune views rebuild`, and keep the view agent running",
        opened.name,
        begin,
        opened.mark.next,
    )
