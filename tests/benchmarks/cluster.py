"""What the benchmark asks of the broker for itself: topics, input, reading back, committed offsets."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from agents.clients import kafka
from agents.settings import KafkaSettings

Headers = Sequence[tuple[str, bytes]]
Item = tuple[int, bytes | None, bytes | None, Headers]
"""Partition, key, value, headers."""

CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": "2000000",
}
_BATCH_RECORDS = 1_000
_IN_FLIGHT = 8
_GONE_SECONDS = 30.0
_TRANSACTION_SECONDS = 60.0
"""After which a broker takes a transaction back, where its producer asks for no other time."""
_NO_COORDINATOR_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


class Cluster:
    """One broker; use it as an async context manager."""

    def __init__(self, bootstrap: str, redis_url: str) -> None:
        self.bootstrap = bootstrap
        self.redis_url = redis_url
        self.settings = KafkaSettings(bootstrap=bootstrap, replication_factor=1)
        self.admin: AIOKafkaAdminClient = None  # type: ignore[assignment]

    async def __aenter__(self) -> Self:
        self.admin = kafka.admin(self.settings)
        await self.admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.admin.close()

    async def create(self, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Create topics with so many partitions each."""
        new = [NewTopic(name, count, 1, topic_configs=dict(config or {})) for name, count in topics.items()]
        answer = await self.admin.create_topics(new)
        assert all(error[1] == 0 for error in answer.topic_errors), answer

    async def delete(self, *topics: str) -> None:
        """Delete topics and wait until they are gone."""
        await self.admin.delete_topics(list(topics))
        async with asyncio.timeout(_GONE_SECONDS):
            while set(topics) & set(await self.admin.list_topics()):
                await asyncio.sleep(0.05)

    async def fill(self, topic: str, items: Iterable[Item]) -> int:
        """Append items in their order within each partition; return how many."""
        producer = kafka.producer(self.settings)
        await producer.start()
        count = 0
        try:
            waiting: dict[int, list[Item]] = {}
            futures: list[asyncio.Future[Any]] = []
            for item in items:
                run = waiting.setdefault(item[0], [])
                run.append(item)
                count += 1
                if len(run) == _BATCH_RECORDS:
                    futures.append(await _send(producer, topic, run))
                    waiting[item[0]] = []
                    if len(futures) >= _IN_FLIGHT:
                        await futures.pop(0)
            futures += [await _send(producer, topic, run) for run in waiting.values() if run]
            await asyncio.gather(*futures)
        finally:
            await producer.stop()
        return count

    async def ends(self, topic: str, **options: str) -> dict[int, int]:
        """Return the end offset of each partition; `options` are the consumer's."""
        consumer = kafka.consumer(self.settings, **options)
        await consumer.start()
        try:
            return {tp.partition: end for tp, end in (await consumer.end_offsets(await self._tps(topic))).items()}
        finally:
            await consumer.stop()

    async def settled(self, topic: str) -> None:
        """Wait until no transaction is open in a topic: one whose producer was killed hides all that follows it.

        No longer than a broker leaves one open: what is hidden then is missing, and a judge says so.
        """
        deadline = time.monotonic() + _GONE_SECONDS + _TRANSACTION_SECONDS
        while await self.ends(topic) != await self.ends(topic, isolation_level="read_committed"):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.2)

    async def read(self, topic: str, starts: Mapping[int, int] | None = None) -> AsyncIterator[Any]:
        """Yield the records from `starts` (or the beginning) to the present ends, one partition after the other.

        What a transaction has taken back is passed over.
        """
        consumer = kafka.consumer(self.settings, isolation_level="read_committed")
        await consumer.start()
        try:
            tps = await self._tps(topic)
            consumer.assign(tps)
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            for tp in tps:
                consumer.seek(tp, max(begins[tp], (starts or {}).get(tp.partition, 0)))
            for tp in tps:
                while await consumer.position(tp) < ends[tp]:
                    for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, ()):
                        if record.offset < ends[tp]:
                            yield record
        finally:
            await consumer.stop()

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return a group's committed offset of each partition that has one."""
        try:
            found = await self.admin.list_consumer_group_offsets(group)
        except _NO_COORDINATOR_YET:  # the first question about any group makes the broker create its topic
            return {}
        return {tp.partition: meta.offset for tp, meta in found.items() if tp.topic == topic}

    async def rewind(self, group: str, topic: str) -> None:
        """Commit offset 0 everywhere for a group without members."""
        consumer = kafka.consumer(self.settings, group=group)
        await consumer.start()
        try:
            tps = await self._tps(topic)
            consumer.assign(tps)
            await consumer.commit(dict.fromkeys(tps, 0))
        finally:
            await consumer.stop()

    async def _tps(self, topic: str) -> list[TopicPartition]:
        (found,) = await self.admin.describe_topics([topic])
        return [TopicPartition(topic, number) for number in sorted(p["partition"] for p in found["partitions"])]


async def _send(producer: AIOKafkaProducer, topic: str, run: list[Item]) -> asyncio.Future[Any]:
    batch = producer.create_batch()
    for _, key, value, headers in run:
        assert batch.append(timestamp=None, key=key, value=value, headers=list(headers)), "the batch is full"
    return await producer.send_batch(batch, topic, partition=run[0][0])
