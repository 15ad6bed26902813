"""One contract suite for every log: what holds in memory holds on a broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.engine.errors import BatchTooLarge, EngineError, OffsetGone, Refused
from agents.engine.kafka import KafkaLog
from agents.engine.log import Log
from agents.engine.memory import MemoryLog
from agents.engine.records import Entry

LIMIT = 100_000


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log_and_topic(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Log, str]]:
    topic = f"contract-{uuid.uuid4().hex[:8]}"
    if request.param == "memory":
        yield MemoryLog({topic: 2}, max_batch_bytes=LIMIT), topic
        return
    bootstrap = request.getfixturevalue("kafka").bootstrap
    await create(bootstrap, topic, 2)
    log = KafkaLog(
        producer=lambda: AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=LIMIT),
        consumer=lambda: AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none"),
    )
    yield log, topic
    await log.stop()


async def create(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()


def entries(*values: bytes) -> list[Entry]:
    return [Entry(b"k", value, [("h", value)]) for value in values]


async def read(log: Log, topic: str, partition: int, start: int, end: int) -> list[Any]:
    return [record async for run in log.read(topic, partition, start, end) for record in run]


async def test_appends_keep_order_and_tell_their_offset(log_and_topic: tuple[Log, str]) -> None:
    """Each append returns the offset of its first entry, right behind the one before, partition by partition."""
    log, topic = log_and_topic
    assert await log.append(topic, 0, entries(b"a", b"b")) == 0
    assert await log.append(topic, 0, entries(b"c")) == 2
    assert await log.append(topic, 1, entries(b"d")) == 0
    found = await read(log, topic, 0, 0, 3)
    assert [(r.offset, r.key, r.value, tuple(r.headers)) for r in found] == [
        (0, b"k", b"a", (("h", b"a"),)),
        (1, b"k", b"b", (("h", b"b"),)),
        (2, b"k", b"c", (("h", b"c"),)),
    ]
    assert await log.bounds(topic, 0) == (0, 3)


async def test_reads_exactly_the_range(log_and_topic: tuple[Log, str]) -> None:
    """A read yields start <= offset < end, nothing for an empty range, tombstones as None."""
    log, topic = log_and_topic
    await log.append(topic, 0, [*entries(b"a", b"b"), Entry(b"gone", None, []), *entries(b"c", b"d")])
    assert [r.value for r in await read(log, topic, 0, 1, 4)] == [b"b", None, b"c"]
    assert await read(log, topic, 0, 2, 2) == []


async def test_what_lies_outside_is_an_error(log_and_topic: tuple[Log, str]) -> None:
    """A log that ends before what is to be read says so, as it does if it has nothing at all there; it never waits."""
    log, topic = log_and_topic
    await log.append(topic, 0, entries(b"a", b"b"))
    for start, end in ((0, 5), (2, 5), (4, 5)):
        with pytest.raises(OffsetGone, match=f"{topic}/0"):
            await read(log, topic, 0, start, end)


async def test_a_batch_is_whole_or_absent(log_and_topic: tuple[Log, str]) -> None:
    """A batch over the limit raises BatchTooLarge and leaves nothing behind."""
    log, topic = log_and_topic
    with pytest.raises(BatchTooLarge):
        await log.append(topic, 0, entries(*[b"x" * 1_000] * 200))
    assert await log.bounds(topic, 0) == (0, 0)


async def test_unknown_topic_is_refused_with_the_remedy(
    log_and_topic: tuple[Log, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of partitions is told; a topic that does not exist says what to do."""
    monkeypatch.setattr("agents.engine.kafka._METADATA_SECONDS", 1.0)
    log, topic = log_and_topic
    assert await log.partitions(topic) == 2
    with pytest.raises(Refused, match="create it"):
        await log.partitions("no-such-topic")


async def test_goes_on_after_abandoning(log_and_topic: tuple[Log, str]) -> None:
    """After `abandon` appends work again, behind what had landed."""
    log, topic = log_and_topic
    await log.append(topic, 0, entries(b"a"))
    await log.abandon()
    assert await log.append(topic, 0, entries(b"b")) == 1


@pytest.mark.kafka
async def test_a_topic_that_is_made_anew_ends_a_read_of_it(kafka: Any) -> None:
    """What was to be read is gone in the middle of it: the reader hears so, it does not wait for it."""
    topic = f"anew-{uuid.uuid4().hex[:8]}"
    await create(kafka.bootstrap, topic, 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    log = KafkaLog(
        producer=lambda: AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True),
        consumer=lambda: AIOKafkaConsumer(
            bootstrap_servers=kafka.bootstrap, auto_offset_reset="none", max_partition_fetch_bytes=20_000
        ),
    )

    async def read_while_it_is_made_anew(end: int) -> None:
        async for run in log.read(topic, 0, 0, end):
            if run[0].offset == 0:
                await admin.delete_topics([topic])
                await asyncio.sleep(1)
                await create(kafka.bootstrap, topic, 1)

    try:
        for _ in range(50):
            last = await log.append(topic, 0, entries(b"x" * 10_000))
        with pytest.raises(OffsetGone, match=topic):
            await read_while_it_is_made_anew(last + 1)
    finally:
        await log.stop()
        await admin.close()


@pytest.mark.kafka
async def test_renews_the_producer_before_sequences_wrap(kafka: Any) -> None:
    """At the limit of records per partition a new producer takes over; nothing is lost, doubled or out of order."""
    topic = f"renew-{uuid.uuid4().hex[:8]}"
    await create(kafka.bootstrap, topic, 1)
    made: list[AIOKafkaProducer] = []

    def producer() -> AIOKafkaProducer:
        made.append(AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True))
        return made[-1]

    log = KafkaLog(
        producer=producer,
        consumer=lambda: AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="none"),
        sequence_limit=10,
    )
    for i in range(25):
        assert await log.append(topic, 0, entries(b"%d" % i)) == i
    assert len(made) == 3
    assert [r.value for r in await read(log, topic, 0, 0, 25)] == [b"%d" % i for i in range(25)]
    await log.stop()
    with pytest.raises(EngineError, match="stopped"):
        await log.append(topic, 0, entries(b"late"))
