"""Plain reading of whole topics: no group, no commits, from the first retained record to an end taken before."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from agents.errors import AttuneError
from agents.proof.report import Place
from agents.proof.subject import Clients, Progress

_STILL_SECONDS = 60.0
_COORDINATOR_SECONDS = 15.0
_COORDINATOR_POLL_SECONDS = 0.2


class Span(NamedTuple):
    """First retained offset, and the offset behind the last."""

    begin: int
    end: int


Spans = dict[int, Span]
"""By partition."""


class Reader:
    """Reads topics through one consumer; use it as an async context manager."""

    def __init__(self, clients: Clients, progress: Progress | None = None) -> None:
        self._consumer = clients.consumer()
        self._admin = clients.admin()
        self._progress = progress
        self._known: dict[str, list[int]] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await self._admin.start()
            for topic in await self._admin.describe_topics():
                self._known[topic["topic"]] = sorted(partition["partition"] for partition in topic["partitions"])
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()
        await self._consumer.stop()

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic; raises AttuneError where there is no such topic."""
        try:
            return self._known[topic]
        except KeyError:
            raise AttuneError(
                f"topic {topic} does not exist", "create the topics with `attune topics apply`, then start the workers"
            ) from None

    async def spans(self, topic: str) -> Spans:
        """Return what is retained of every partition now."""
        tps = [TopicPartition(topic, number) for number in self.partitions(topic)]
        begins = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {tp.partition: Span(begins[tp], ends[tp]) for tp in tps}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return a group's committed offsets by partition.

        A cluster on which nobody has committed yet makes its topic of offsets when it is first asked, and one that has
        just begun reads it first.
        """
        deadline = time.monotonic() + _COORDINATOR_SECONDS
        while True:
            try:
                found = await self._admin.list_consumer_group_offsets(group)
                break
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_COORDINATOR_POLL_SECONDS)
        return {tp.partition: meta.offset for tp, meta in found.items() if tp.topic == topic and meta.offset >= 0}

    async def read(self, topic: str, spans: Mapping[int, Span]) -> AsyncIterator[list[Any]]:
        """Yield runs of records of one partition each; partitions come side by side, each in order."""
        left = {TopicPartition(topic, number): span.end for number, span in spans.items() if span.end > span.begin}
        total = sum(span.end - span.begin for span in spans.values())
        consumer = self._consumer
        consumer.assign(list(left))
        for tp in left:
            consumer.seek(tp, spans[tp.partition].begin)
        last = time.monotonic()
        while left:
            fetched = await consumer.getmany(*left, timeout_ms=1_000)
            for tp, run in fetched.items():
                last = time.monotonic()
                end = left[tp]
                wanted = run if run[-1].offset < end else [record for record in run if record.offset < end]
                if wanted:
                    yield wanted
            for tp in list(left):
                if await consumer.position(tp) >= left[tp]:
                    del left[tp]
            if self._progress is not None:
                rest = [end - await consumer.position(tp) for tp, end in left.items()]
                self._progress(topic, total - sum(rest), total)
            if time.monotonic() - last > _STILL_SECONDS:
                raise AttuneError(
                    f"{topic}: nothing could be read for {_STILL_SECONDS:.0f} s at {_positions(left)}",
                    "see whether every broker is up and every partition has a leader",
                )
            if left:
                consumer.pause(*(tp for tp in consumer.assignment() if tp not in left))
        # No unsubscribe: aiokafka's fetcher dies of it when an assignment follows at once.  The next read assigns anew.

    async def one(self, place: Place) -> Any | None:
        """Return the record at a place, or None if it is no longer there."""
        assert place.offset is not None
        span = Span(place.offset, place.offset + 1)
        progress, self._progress = self._progress, None
        try:
            retained = (await self.spans(place.topic))[place.partition]
            if not retained.begin <= place.offset < retained.end:
                return None
            async for run in self.read(place.topic, {place.partition: span}):
                return run[0]
            return None
        finally:
            self._progress = progress


def _positions(left: Iterable[TopicPartition]) -> str:
    return ", ".join(f"partition {tp.partition}" for tp in left)
