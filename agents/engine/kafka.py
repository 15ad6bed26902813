"""The log on Kafka, through aiokafka; clients come from factories, so that security has one home."""

import asyncio
import collections
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from agents.engine.errors import BatchTooLarge, EngineError, OffsetGone, Refused, SendAbandoned
from agents.engine.log import Bounds
from agents.engine.records import PlainEntry, Record

logger = logging.getLogger(__name__)

_SEQUENCE_LIMIT = 2**30
"""aiokafka's sequence numbers wrap wrongly at 2^31: a producer is renewed well before."""
_KILL_SECONDS = 2.0
_FINAL = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)
"""Errors that no repetition mends."""
_METADATA_SECONDS = 15.0
_TURNS = 3
"""After so many turns of the loop a consumer has asked for what comes next: it is fetched while a run is taken in."""
_LOG_APPEND_TIME = 1
"""Timestamp type of a record whose time the broker has set."""
_CONNECT_AGAIN_SECONDS = 2.0

_Client = TypeVar("_Client", AIOKafkaConsumer, AIOKafkaProducer)


async def connected(new: Callable[[], _Client]) -> _Client:
    """Return a client of Kafka that has found its cluster, and wait for one that is away.

    Raises what else goes wrong at its start, and what `new` raises.
    """
    while True:
        client = new()
        try:
            await client.start()
        except BaseException as error:
            await _give_up(client)
            if not isinstance(error, KafkaConnectionError):
                raise
            logger.warning("Kafka is waited for, it does not answer or does not let us in: %s", error)
        else:
            return client
        await asyncio.sleep(_CONNECT_AGAIN_SECONDS)


async def _give_up(client: _Client) -> None:
    """Stop a client that has not come up, and wait no longer for that than need be."""
    try:
        async with asyncio.timeout(_KILL_SECONDS):
            await client.stop()
    except (TimeoutError, KafkaError) as error:
        logger.info("a client of Kafka that did not come up did not end in order: %r", error)


class KafkaLog:
    """Implements `agents.engine.log.Log`; connects at first use, to be stopped after the last.

    `producer` must return an idempotent AIOKafkaProducer whose `max_batch_size` is the largest
    batch wanted; `consumer` a groupless AIOKafkaConsumer without subscription.
    """

    def __init__(
        self,
        *,
        producer: Callable[[], AIOKafkaProducer],
        consumer: Callable[[], AIOKafkaConsumer],
        send_seconds: float = 30.0,
        sequence_limit: int = _SEQUENCE_LIMIT,
    ) -> None:
        self._new_producer = producer
        self._new_consumer = consumer
        self._send_seconds = send_seconds
        self._sequence_limit = sequence_limit
        self._producer: AIOKafkaProducer | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._appended: dict[tuple[str, int], int] = {}
        self._behind_ms = 0
        """What the clock of the brokers is ahead of ours."""
        self._queues: collections.defaultdict[tuple[str, int], asyncio.Lock] = collections.defaultdict(asyncio.Lock)
        self._retired: list[AIOKafkaProducer] = []
        self._lock = asyncio.Lock()
        self._stopped = False

    async def stop(self) -> None:
        """Close connections; what is unacknowledged is given up."""
        self._stopped = True
        if self._reader is not None:
            await self._reader.stop()
        for producer in (*self._retired, self._producer):
            if producer is not None:
                await _kill(producer)
        self._producer = self._reader = None

    async def append(self, topic: str, partition: int, entries: Sequence[PlainEntry]) -> int:
        """See `Log.append`."""
        producer = self._producer or await self._open()
        place = (topic, partition)
        count = self._appended.get(place, 0) + len(entries)
        if count > self._sequence_limit:
            producer = await self._renew(producer)
            count = len(entries)
        self._appended[place] = count
        builder = producer.create_batch()
        append, now_ms = builder.append, _our_ms()
        for key, value, headers in entries:
            if append(key=key, value=value, timestamp=now_ms, headers=headers) is None:
                raise BatchTooLarge(f"{len(entries)} records do not fit into one batch for {topic}/{partition}")
        builder.close()
        try:
            async with asyncio.timeout(self._send_seconds):
                # aiokafka holds one batch of a partition at a time and lets those that wait race for
                # its place, each with a time-out that shrinks quadratically: queue them here instead.
                async with self._queues[place]:
                    future = await producer.send_batch(builder, topic, partition=partition)
                future.add_done_callback(_looked_at)
                metadata = await future
        except TimeoutError as error:
            raise SendAbandoned(
                f"no acknowledgement for {topic}/{partition} within {self._send_seconds:.0f} s; "
                f"is a broker frozen, or are fewer than min.insync.replicas alive?"
            ) from error
        except _FINAL as error:
            raise Refused(
                f"the broker refuses to append to {topic}/{partition}: {error!r}; "
                f"check the rights of this worker and the topic's max.message.bytes"
            ) from error
        except KafkaError as error:
            raise SendAbandoned(f"the append to {topic}/{partition} failed: {error!r}") from error
        if metadata.timestamp_type == _LOG_APPEND_TIME:
            self._behind_ms = int(metadata.timestamp) - _our_ms()
        return int(metadata.offset)

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See `Log.read`."""
        if start >= end:
            return
        tp = TopicPartition(topic, partition)
        consumer = await self._connected(self._new_consumer)
        try:
            consumer.assign([tp])
            consumer.seek(tp, start)
            while await consumer.position(tp) < end:
                try:
                    fetched = await consumer.getmany(tp, timeout_ms=1_000)
                except OffsetOutOfRangeError as error:
                    raise outside(error) from error
                run = fetched.get(tp, [])
                if not run and (await self.bounds(topic, partition)).end < end:  # else it would wait here for ever
                    raise OffsetGone(f"{topic}/{partition} was to be read up to {end} and ends before it")
                if run and run[-1].offset >= end:
                    run = [record for record in run if record.offset < end]
                if run:
                    for _ in range(_TURNS):
                        await asyncio.sleep(0)
                    yield run
        finally:
            await consumer.stop()

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """See `Log.bounds`."""
        reader = await self._open_reader()
        tp = TopicPartition(topic, partition)
        begin = await reader.beginning_offsets([tp])
        end = await reader.end_offsets([tp])
        return Bounds(begin[tp], end[tp])

    async def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        producer = self._producer or await self._open()
        try:
            async with asyncio.timeout(_METADATA_SECONDS):
                found = await producer.partitions_for(topic)
        except (TimeoutError, UnknownTopicOrPartitionError, TopicAuthorizationFailedError) as error:
            raise Refused(
                f"topic {topic} does not exist or may not be described ({type(error).__name__}): "
                f"create it before the worker starts, or grant DESCRIBE"
            ) from error
        return len(found)

    async def abandon(self) -> None:
        """See `Log.abandon`."""
        producer, self._producer = self._producer, None
        self._appended = {}
        if producer is not None:
            await _kill(producer)

    def now_ms(self) -> int:
        """Return the clock of the brokers as an acknowledgement told it last, before that our own."""
        return _our_ms() + self._behind_ms

    async def _connected(self, new: Callable[[], _Client]) -> _Client:
        """Return a client that has found its cluster; raise EngineError if the log is stopped meanwhile."""

        def wanted() -> _Client:
            if self._stopped:
                raise EngineError("the log is stopped")
            return new()

        client = await connected(wanted)
        if self._stopped:
            await _give_up(client)
            raise EngineError("the log is stopped")
        return client

    async def _open(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                self._producer = await self._connected(self._new_producer)
            return self._producer

    async def _open_reader(self) -> AIOKafkaConsumer:
        async with self._lock:
            if self._reader is None:
                self._reader = await self._connected(self._new_consumer)
            return self._reader

    async def _renew(self, old: AIOKafkaProducer) -> AIOKafkaProducer:
        """Open a new producer; the old one delivers what it has before anything new goes out."""
        async with self._lock:
            if self._producer is not old and self._producer is not None:
                return self._producer
            logger.info("renewing the producer before its sequence numbers wrap")
            await old.flush()
            fresh = await self._connected(self._new_producer)
            self._producer, self._appended = fresh, {}
            self._retired.append(old)
            return fresh


def outside(error: OffsetOutOfRangeError) -> OffsetGone:
    """Say of what a broker answers where it has nothing (the error holds offsets by topic-partition)."""
    places = ", ".join(f"{tp.topic}/{tp.partition} at {offset}" for tp, offset in error.args[0].items())
    return OffsetGone(f"there is nothing any more at {places}")


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Take note of how a send ended: nobody waits any more for one that was abandoned."""
    if not future.cancelled():
        future.exception()


def _our_ms() -> int:
    return int(time.time() * 1000)


async def _kill(producer: AIOKafkaProducer) -> None:
    """Stop a producer without flushing: its connections first, so that nothing more leaves.

    aiokafka's own `stop` would wait for delivery, and an idempotent batch never expires.  The
    private names are held by tests/agents/engine/test_private_names.py.
    """
    inner: Any = producer
    inner._closed = True  # noqa: SLF001
    sender = inner._sender  # noqa: SLF001
    task = sender.sender_task
    if task is not None:
        task.cancel()
    await inner.client.close()
    if task is not None:
        await asyncio.wait([task], timeout=_KILL_SECONDS)
    inner._message_accumulator.fail_all(SendAbandoned("the producer was abandoned"))  # noqa: SLF001
