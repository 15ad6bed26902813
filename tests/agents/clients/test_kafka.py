"""Clients of Kafka as they are shipped."""

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from agents.clients import kafka
from agents.settings import KafkaSettings

pytestmark = pytest.mark.kafka


async def test_batches_that_filled_up_during_an_outage_are_taken(kafka_settings: KafkaSettings) -> None:
    """Three megabytes wait for one partition of a topic with Kafka's default limit: all are acknowledged."""
    topic = f"filled-{uuid.uuid4().hex[:8]}"
    admin = kafka.admin(kafka_settings)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = kafka.producer(kafka_settings, linger_ms=3_000)  # what goes out before is full
    await producer.start()
    sends = [await producer.send(topic, b"x" * 300, partition=0) for _ in range(10_000)]
    await producer.flush()
    await producer.stop()
    answers: list[Any] = await asyncio.gather(*sends)
    assert answers[-1].offset == 9_999


@pytest.fixture
def kafka_settings(request: pytest.FixtureRequest) -> KafkaSettings:
    """Return how the broker for tests is reached."""
    return KafkaSettings(bootstrap=request.getfixturevalue("kafka").bootstrap, replication_factor=1)
