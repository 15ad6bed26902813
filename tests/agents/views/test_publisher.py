"""The publisher of the state topic: whoever opened it last is the only one who writes."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.clients import kafka
from agents.engine.job import by_crc32
from agents.topology import VIEWS_GROUP
from agents.views.clients import Counters
from agents.views.documents import Message
from agents.views.publisher import Publisher
from schemas import topics
from tests.agents.views.scribe import Scribe
from tests.faults.harness import read_all

pytestmark = pytest.mark.kafka

SOURCE = TopicPartition(topics.FOLD_CHANGELOG, 0)


async def opened(scribe: Scribe, group: str) -> Publisher:
    producer = kafka.producer(scribe.settings.kafka, transactional_id=f"{VIEWS_GROUP}-test")
    publisher = Publisher(producer, topics.CUSTOMER_STATE, SOURCE, group=group, seconds=0.1, counters=Counters())
    await publisher.open(lambda key, count: by_crc32("", key, count))
    publisher.begin(0)
    return publisher


async def test_a_frozen_agent_that_wakes_up_is_refused(scribe: Scribe) -> None:
    """What it had in hand, an older state, never stands behind the newer one of its successor."""
    customer = scribe.customer()
    frozen = await opened(scribe, "publisher-test")
    frozen.add(customer, "1", Message(b"older", []))
    frozen.next = 5
    successor = await opened(scribe, "publisher-test")
    successor.add(customer, "2", Message(b"newer", []))
    successor.next = 9
    await successor.flush()
    try:
        with pytest.raises((KafkaError, TimeoutError)):
            await frozen.flush()
    finally:
        await frozen.close()
        await successor.close()
    assert scribe.settings.kafka.bootstrap is not None
    records = await read_all(scribe.settings.kafka.bootstrap, topics.CUSTOMER_STATE)
    mine = [record for record in records if record.key == customer.encode()]
    assert [record.value for record in mine] == [b"newer"]
    assert mine[0].partition == by_crc32("", customer.encode(), 6)
    async with kafka.consumer(scribe.settings.kafka, group="publisher-test") as consumer:
        consumer.assign([SOURCE])
        assert await consumer.committed(SOURCE) == 9
    await scribe.send(
        [{"topic": topics.CUSTOMER_STATE, "partition": mine[0].partition, "key": customer.encode(), "value": None}]
    )


async def test_each_customer_is_published_once_with_the_newest_state(scribe: Scribe) -> None:
    """Between two transactions the newest position counts, in whatever order they were added."""
    customer, counters = scribe.customer(), Counters()
    publisher = await opened(scribe, "publisher-test-2")
    publisher._counters = counters
    try:
        for position, value in (("1", b"a"), ("3", b"c"), ("2", b"b")):
            publisher.add(customer, position, Message(value, []))
        await publisher.flush()
        await publisher.flush()
        publisher.add(customer, "4", Message(None, []))
        await publisher.flush()
    finally:
        await publisher.close()
    assert scribe.settings.kafka.bootstrap is not None
    records = await read_all(scribe.settings.kafka.bootstrap, topics.CUSTOMER_STATE)
    assert [record.value for record in records if record.key == customer.encode()] == [b"c", None]
    assert counters.published == 2


async def test_a_publisher_that_failed_publishes_nothing_more(scribe: Scribe) -> None:
    """Nobody knows what a transaction left that was interrupted: from then on it says so, by an error of Kafka."""
    publisher = await opened(scribe, "publisher-test-3")
    try:
        publisher.add(scribe.customer(), "1", Message(b"a", []))
        publishing = asyncio.ensure_future(publisher.flush())
        await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        publisher.add(scribe.customer(), "1", Message(b"b", []))
        for _ in range(2):
            with pytest.raises(KafkaError, match="failed before"):
                await publisher.flush()
    finally:
        await publisher.close()


async def test_a_client_that_finds_itself_in_a_wrong_state(scribe: Scribe) -> None:
    """The client says it by an assertion; whoever waits for a flush gets an error of Kafka."""
    publisher = await opened(scribe, "publisher-test-4")
    try:
        await publisher._producer.begin_transaction()
        publisher.next = 3
        with pytest.raises(KafkaError, match="Invalid state transition"):
            await publisher.flush()
    finally:
        await publisher.close()
