"""Publishes interactions as a channel does: CloudEvents in binary mode, keyed by the customer's identifier.

For old data it also publishes its own clock: a watermark into every partition of the topic, after
the events that it closes.  aiokafka keeps the order of one producer within a partition, so a
watermark never overtakes an event.
"""

import asyncio
import dataclasses
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import headers as names
from schemas.codec import EMBEDDED, Codec

WATERMARK_MS = 6 * 3_600_000
_IN_FLIGHT = 5_000
_SLICE_SECONDS = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What went out; times are event time, milliseconds since 1970."""

    count: int
    watermarks: int
    first_ms: int | None
    last_ms: int | None


async def publish(
    producer: AIOKafkaProducer,
    items: Iterable[tuple[str, dict[str, Any]]],
    *,
    topic: str,
    partitions: int,
    pace: float | None = None,
    watermark_ms: int | None = WATERMARK_MS,
    codec: Codec = EMBEDDED,
    on_progress: Callable[[int], None] | None = None,
) -> Published:
    """Send items (key, Interaction) in their order and wait until all are acknowledged.

    `pace` is interactions a second, None for no limit; `watermark_ms` None sends no watermarks.
    Raises InvalidRecord for an item that does not fit the schema.
    """
    in_flight: set[asyncio.Future[Any]] = set()
    count = watermarks = 0
    first = last = closed = None
    begun = time.monotonic()
    for key, event in items:
        at = event["occurred_at"]
        if watermark_ms is not None:
            period = at // watermark_ms
            if closed is not None and period > closed:
                watermarks += await _watermark(producer, topic, partitions, period * watermark_ms, codec)
            closed = period
        raw = key.encode()
        in_flight.add(
            await producer.send(
                topic,
                codec.encode("Interaction", event),
                key=raw,
                partition=zlib.crc32(raw) % partitions,
                headers=headers_of(event),
            )
        )
        first, last = at if first is None else first, at
        count += 1
        if len(in_flight) >= _IN_FLIGHT:
            in_flight = await _settle(in_flight, asyncio.FIRST_COMPLETED)
        if pace is not None:
            ahead = begun + count / pace - time.monotonic()
            if ahead > _SLICE_SECONDS:
                await asyncio.sleep(ahead)
        if on_progress is not None and count % 100 == 0:
            on_progress(count)
    if watermark_ms is not None and last is not None:
        watermarks += await _watermark(producer, topic, partitions, last, codec)
    await _settle(in_flight, asyncio.ALL_COMPLETED)
    if on_progress is not None:
        on_progress(count)
    return Published(count, watermarks, first, last)


def headers_of(event: dict[str, Any]) -> names.Headers:
    """Return the headers of an interaction."""
    headers = names.cloud_event(
        event_id=event["event_id"],
        ce_type=names.INTERACTION_PREFIX + event["type"],
        source=event["source"] or "attune-publish",
        time_ms=event["occurred_at"],
    )
    if event["personal"] is not None:
        headers.append((names.PERSONAL, names.PERSONAL_IN_THE_CLEAR))
    return headers


async def _watermark(producer: AIOKafkaProducer, topic: str, partitions: int, at: int, codec: Codec) -> int:
    value = codec.encode("Control", {"body": {"time": at, "partitions": partitions}})
    headers = names.cloud_event(
        event_id=f"watermark-{at}", ce_type=names.WATERMARK, source="attune-publish", time_ms=at
    )
    for partition in range(partitions):
        await producer.send(topic, value, partition=partition, headers=headers)
    return 1


async def _settle(in_flight: set[asyncio.Future[Any]], until: str) -> set[asyncio.Future[Any]]:
    if not in_flight:
        return in_flight
    done, left = await asyncio.wait(in_flight, return_when=until)
    for future in done:
        future.result()
    return left
