"""Clients of Kafka as they are shipped."""

import asyncio
import uuid
from functools import partial
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, GroupLoadInProgressError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from agents.clients import kafka
from agents.ops.members import answered
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


LOADING, AWAY, MOVED, CLOSED = 14, 15, 16, 30
"""Kafka's codes: the coordinator loads its groups, is not there, is another broker, does not let this user in."""


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of codes: what is put into it coordinators answer before they tell what a group has committed."""
    codes: list[int] = []
    send = AIOKafkaClient.send

    async def refusing(self: Any, node_id: Any, request: Any, **options: Any) -> Any:
        if codes and isinstance(request, OffsetFetchRequest):
            return OffsetFetchResponse_v3(0, [], codes.pop(0))
        return await send(self, node_id, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", refusing)
    return codes


async def test_a_coordinator_that_is_not_ready_is_not_a_group_that_has_committed_nothing(
    kafka_settings: KafkaSettings, refusals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses as a whole and names no partition, an empty answer for aiokafka; our clients ask again or raise."""
    topic = f"committed-{uuid.uuid4().hex[:8]}"
    place = TopicPartition(topic, 0)
    admin = kafka.admin(kafka_settings)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    member = kafka.consumer(kafka_settings, group=topic)
    await member.start()
    try:
        member.assign([place])
        await member.commit({place: 7})
        looked_up: list[int] = []
        forget = member._coordinator.coordinator_dead
        monkeypatch.setattr(member._coordinator, "coordinator_dead", lambda: (looked_up.append(1), forget()))
        refusals += [LOADING, MOVED, AWAY]
        assert await member.committed(place) == 7
        assert not refusals
        assert len(looked_up) == 2, "another coordinator is looked for where this one is none"
        refusals += [LOADING]
        with pytest.raises(GroupLoadInProgressError):
            await admin.list_consumer_group_offsets(topic)
        refusals += [LOADING, MOVED]
        (found,) = (await answered(partial(admin.list_consumer_group_offsets, topic))).items()
        assert (found[0], found[1].offset) == (place, 7)
        refusals += [CLOSED]
        with pytest.raises(GroupAuthorizationFailedError):
            await member.committed(place)
    finally:
        await member.stop()
        await admin.close()


@pytest.fixture
def kafka_settings(request: pytest.FixtureRequest) -> KafkaSettings:
    """Return how the broker for tests is reached."""
    return KafkaSettings(bootstrap=request.getfixturevalue("kafka").bootstrap, replication_factor=1)
