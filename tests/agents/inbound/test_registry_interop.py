"""Beside Confluent's own serializers, on a real Apicurio: each reads what the other wrote, and a router takes both."""

import asyncio
import copy
import json
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import SecretStr

from agents.clients import kafka
from agents.ops import topics as topic_admin
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings, PrivacySettings, RedisSettings, Settings, variable
from schemas import deadletter, topics, versions
from schemas import headers as names
from schemas.catalogue import CATALOGUE
from schemas.codec import Codec, decode_by_fingerprint, frame, schema_id_of
from schemas.errors import UnknownSchema
from schemas.registry import RemoteRegistry, publish_all, resolve
from tests.conftest import Registry
from tests.faults.harness import read_all
from tests.faults.main_job import SECRET, MainJob
from tests.streams.journal import START, interaction

INTERACTION = versions.CURRENT["Interaction"]
NOBODYS_ID = 999_999


@pytest.fixture
def confluent(apicurio_registry: Registry) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": apicurio_registry.url}) as client:
        yield client


@pytest.fixture
async def ours(apicurio_registry: Registry) -> AsyncIterator[RemoteRegistry]:
    async with RemoteRegistry(apicurio_registry.url) as client:
        yield client


def grown(field: str) -> dict[str, Any]:
    """Return the schema Interaction as a channel extends it: compatible, with a field of its own."""
    schema = copy.deepcopy(dict(INTERACTION))
    schema["fields"].append({"name": field, "type": "string", "default": ""})
    return schema


def serialized(client: SchemaRegistryClient, schema: Any, record: dict[str, Any], topic: str) -> bytes:
    """Return what Confluent's serializer makes of a record; it registers the schema under `<topic>-value`."""
    value = AvroSerializer(client, json.dumps(schema))(record, SerializationContext(topic, MessageField.VALUE))
    assert isinstance(value, bytes)
    return value


async def contract(client: RemoteRegistry, topic: str) -> Codec:
    """Return a codec with the registry's ids alone, interactions under the subject of a topic of this test."""
    others = [(f"{topic}-crm.v1.{name}", name) for name in versions.CURRENT if name != "Interaction"]
    return await publish_all(client, [(f"{topic}-value", "Interaction"), *others])


async def test_what_we_write_is_read_by_confluents_deserializer(
    ours: RemoteRegistry, confluent: SchemaRegistryClient
) -> None:
    """Every field of an interaction arrives, by the id that Apicurio gave us; their timestamps are datetimes."""
    topic = f"t-{secrets.token_hex(6)}"
    codec = await contract(ours, topic)
    event = interaction(
        "purchase.made", event_id="1", channel="OUTLET", amount_minor=4_299, currency="EUR", attributes={"till": "7"}
    )
    value = codec.encode("Interaction", event)
    context = SerializationContext(topic, MessageField.VALUE)
    read = await asyncio.to_thread(AvroDeserializer(confluent), value, context)
    assert read == {**event, "occurred_at": datetime.fromtimestamp(START / 1000, UTC)}


async def test_what_confluents_serializer_writes_is_read_by_our_codec(
    ours: RemoteRegistry, confluent: SchemaRegistryClient
) -> None:
    """With our schema and with one that grew compatibly; what grew is left out, what is ours is all there."""
    topic = f"t-{secrets.token_hex(6)}"
    codec = await contract(ours, topic)
    event = interaction("visit.made", event_id="1", channel="OUTLET")
    same = await asyncio.to_thread(serialized, confluent, INTERACTION, event, topic)
    assert schema_id_of(same) == codec.ids["Interaction"]
    assert codec.decode(same, "Interaction") == event
    more = await asyncio.to_thread(serialized, confluent, grown("mood"), {**event, "mood": "fine"}, topic)
    with pytest.raises(UnknownSchema):
        codec.decode(more, "Interaction")
    await resolve(codec, ours, schema_id_of(more))
    assert codec.decode(more, "Interaction") == event


async def test_a_schema_in_two_subjects_is_read_as_one(ours: RemoteRegistry, confluent: SchemaRegistryClient) -> None:
    """Apicurio keeps a reference apart from the schema: both are fetched and put together."""
    part = f"t-{secrets.token_hex(6)}"
    channel = next(field["type"] for field in INTERACTION["fields"] if field["name"] == "channel")
    outer = copy.deepcopy(dict(INTERACTION))
    next(field for field in outer["fields"] if field["name"] == "channel")["type"] = "crm.v1.Channel"
    inner = Schema(json.dumps({**channel, "namespace": "crm.v1"}), "AVRO")
    await asyncio.to_thread(confluent.register_schema, part, inner)
    schema = Schema(json.dumps(outer), "AVRO", references=[SchemaReference("crm.v1.Channel", part, 1)])
    schema_id = await asyncio.to_thread(confluent.register_schema, f"{part}-outer-value", schema)
    codec = await contract(ours, part)
    await resolve(codec, ours, schema_id)
    assert codec.type_of(frame(schema_id)) == ("Interaction", versions.LATEST["Interaction"].fingerprint)


async def test_an_id_that_apicurio_does_not_know(ours: RemoteRegistry) -> None:
    """It is unknown, which makes a dead letter; ids beyond the signed ones are too, whatever the registry answers."""
    for schema_id in (NOBODYS_ID, 2**31 - 1, 2**31, 2**32 - 1):
        with pytest.raises(UnknownSchema, match=str(schema_id)):
            await ours.schema(schema_id)


@pytest.fixture
async def job(tmp_path: Path, apicurio_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MainJob]:
    """Yield a cluster of its own, so that the router meets nobody else's ids; commands use the registry."""
    monkeypatch.setenv(variable("registry.url"), apicurio_registry.url)
    platform = LocalPlatform(tmp_path / "platform")
    platform.start()
    try:
        settings = Settings(
            home=tmp_path / "home",
            kafka=KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1),
            redis=RedisSettings(url=platform.redis_url),
            privacy=PrivacySettings(secret=SecretStr(SECRET)),
        )
        admin = kafka.admin(settings.kafka)
        await admin.start()
        await topic_admin.apply(admin, CATALOGUE, replication=1)
        await admin.close()
        running = MainJob(settings, tmp_path, random.Random(1), platform)
        yield running
        running.stop()
    finally:
        platform.stop()


async def send(job: MainJob, values: list[bytes]) -> None:
    producer: AIOKafkaProducer = kafka.producer(job.settings.kafka)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topics.INTERACTIONS, value, key=b"loyalty:1")
    finally:
        await producer.stop()


async def until(what: str, done: Callable[[], Any], job: MainJob) -> None:
    deadline = time.monotonic() + 60
    while not await asyncio.to_thread(done):
        assert time.monotonic() < deadline, f"{what}\n{job.logs()}"
        await asyncio.sleep(0.1)


def text(record: Any, header: str) -> str:
    return (names.first(record.headers, header) or b"").decode()


async def arrived(job: MainJob) -> tuple[list[str], list[str]]:
    """Return the ids of the journal's interactions, and the reasons of the dead letters."""
    assert job.settings.kafka.bootstrap is not None
    events = [
        decode_by_fingerprint(text(record, names.SCHEMA), record.value, "Interaction")["event_id"]
        for record in await read_all(job.settings.kafka.bootstrap, topics.JOURNAL)
    ]
    letters = await read_all(job.settings.kafka.bootstrap, topics.INTERACTIONS + topics.DEAD_LETTER_SUFFIX)
    return events, [text(letter, deadletter.EXCEPTION_MESSAGE) for letter in letters]


async def until_arrived(job: MainJob, count: int) -> tuple[list[str], list[str]]:
    deadline = time.monotonic() + 60
    while sum(map(len, found := await arrived(job))) < count:
        assert time.monotonic() < deadline, f"only {found} arrived\n{job.logs()}"
        await asyncio.sleep(0.2)
    return found


@pytest.mark.kafka
async def test_a_router_waits_for_its_registry_and_goes_on(
    job: MainJob, apicurio_registry: Registry, confluent: SchemaRegistryClient
) -> None:
    """Killed before the router starts, frozen while it works: nothing is lost or dead-lettered until it is back.

    Then everything arrives in order, also by a schema that grew; an id that nobody knows is a dead letter and says so.
    """
    published = await job.attune("registry", "publish", "--json")
    assert published["ok"]

    def written(event_id: str, field: str | None = None) -> bytes:
        event = interaction("visit.made", event_id=event_id, occurred_at=int(time.time() * 1000))
        schema = INTERACTION if field is None else grown(field)
        return serialized(confluent, schema, event, topics.INTERACTIONS)

    values = [written("1"), written("2", "mood"), frame(NOBODYS_ID) + written("x")[5:], written("3", "weather")]
    late = written("4", "tide")
    apicurio_registry.kill()
    try:
        job.start("router")
        await send(job, values)
        await until("the router does not wait", lambda: job.logs().count(" waits: ") == 1, job)
        await asyncio.sleep(2)  # it asks again every second
        assert await arrived(job) == ([], [])
    finally:
        apicurio_registry.start()
    events, reasons = await until_arrived(job, 4)
    assert events == ["1", "2", "3"], reasons
    (reason,) = reasons
    assert f"schema id {NOBODYS_ID} is unknown to the registry" in reason
    os.kill(apicurio_registry.pid, signal.SIGSTOP)
    try:
        await send(job, [late])
        await until("the router does not wait again", lambda: job.logs().count(" waits: ") == 2, job)
        assert await arrived(job) == (events, reasons)
    finally:
        os.kill(apicurio_registry.pid, signal.SIGCONT)
    assert await until_arrived(job, 5) == ([*events, "4"], reasons)
    assert await job.leave("router") == 0
