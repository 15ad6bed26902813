"""Latency from the logs: append of an output minus append of the interaction that caused it, both by the broker."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import headers as names
from schemas import topics
from schemas.headers import Origin, Position

Starts = Mapping[str, Mapping[int, int]]
TOPICS = (topics.INTERACTIONS, topics.JOURNAL, topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)


async def measure(consumer: AIOKafkaConsumer, starts: Starts) -> list[int]:
    """Return the latency, milliseconds, of every output whose interaction lies behind `starts`.

    `starts` has an offset for each partition of `TOPICS`; `consumer` is groupless and started.
    """
    appended = {
        (record.partition, record.offset): record.timestamp
        async for record in _read(consumer, topics.INTERACTIONS, starts)
    }
    origins: dict[tuple[int, int], Origin] = {}
    async for record in _read(consumer, topics.JOURNAL, starts):
        origin = names.first(record.headers, names.ORIGIN)
        if origin is not None:
            origins[record.partition, record.offset] = Origin.parse(origin)
    found: list[int] = []
    for topic in (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS):
        async for record in _read(consumer, topic, starts):
            position = Position.parse(names.first(record.headers, names.POSITION) or b"")
            cause = origins.get((position.partition, position.offset))
            begun = None if cause is None else appended.get((cause.partition, cause.offset))
            if begun is not None:
                found.append(record.timestamp - begun)
    return found


def percentile(values: Sequence[int], share: float) -> float | None:
    """Return the value below which a share (0 to 1) of the values lies, by the nearest rank; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


async def _read(consumer: AIOKafkaConsumer, topic: str, starts: Starts) -> AsyncIterator[Any]:
    tps = [TopicPartition(topic, number) for number in starts[topic]]
    ends = await consumer.end_offsets(tps)
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, starts[topic][tp.partition])
    for tp in tps:
        while await consumer.position(tp) < ends[tp]:
            for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
                yield record
