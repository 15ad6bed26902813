"""The exporter on a real broker: its figures beside Kafka's own tool, outputs and latency, a broker that goes away."""

import asyncio
import collections
import contextlib
import os
import re
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from agents.clients import kafka as clients
from agents.ops import topics as topic_admin
from agents.ops.exporter import Exporter
from agents.ops.latency import Latency
from agents.ops.survey import Surveyor
from agents.platform import jars
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.message_examples import load
from tests.agents.ops.test_lag import fill, member

PATIENCE_SECONDS = 60.0
DECISION = next(load("NextBestAction")).record()
SUPPRESSION = next(load("Suppression")).record()

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Watching(NamedTuple):
    """An exporter at work."""

    exporter: Exporter
    registry: CollectorRegistry

    def samples(self) -> Samples:
        """Return what it shows now."""
        text = generate_latest(self.registry).decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return one figure, None where it is not shown."""
        return self.samples().get((name, frozenset(labels.items())))

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def watching(connection: KafkaSettings, **options: Any) -> AsyncIterator[Watching]:
    """Yield an exporter that looks often; it must still be at work at the end.  `options` go to its clients."""
    registry = CollectorRegistry()
    exporter = Exporter(
        admin=lambda: clients.admin(connection, **options),
        consumer=lambda: clients.consumer(connection, **options),
        registry=registry,
        interval=0.3,
        window_seconds=2.0,
        stale_seconds=2.0,
    )
    registry.register(exporter)
    work = asyncio.create_task(exporter.run())
    try:
        yield Watching(exporter, registry)
        assert not work.done()
    finally:
        work.cancel()
        await asyncio.wait([work])


class Row(NamedTuple):
    """What Kafka's tool prints of a partition of a group; None for a dash."""

    committed: int | None
    end: int | None
    lag: int | None
    member: str | None


def kafkas_own(bootstrap: str, *arguments: str) -> str:
    """Return what ConsumerGroupCommand prints."""
    command = [str(jars.java()), "-Xmx128m", "-cp", os.pathsep.join(map(str, jars.class_path()))]
    command += ["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", bootstrap]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


def described(bootstrap: str) -> dict[tuple[str, str, str], Row]:
    """Return the rows of all groups by group, topic and partition."""
    rows: dict[tuple[str, str, str], Row] = {}
    for line in kafkas_own(bootstrap, "--describe", "--all-groups").splitlines():
        cells = line.split()
        if len(cells) >= 9 and cells[2].isdigit():
            numbers = [None if cell == "-" else int(cell) for cell in cells[3:6]]
            rows[cells[0], cells[1], cells[2]] = Row(*numbers, None if cells[6] == "-" else cells[6])
    return rows


def shown(found: Samples, group: str) -> dict[tuple[str, str, str], Row]:
    """Return the same rows from the exporter's samples; of members it says only that there is one."""
    rows: dict[tuple[str, str, str], Row] = {}
    by_name = {
        "kafka_consumergroup_current_offset": "committed",
        "kafka_consumergroup_lag": "lag",
        "attune_consumergroup_partition_owned": "member",
    }
    for (name, pairs), value in found.items():
        labels = dict(pairs)
        if name in by_name and labels["consumergroup"] == group:
            place = (group, labels["topic"], labels["partition"])
            number: Any = int(value)
            if name == "attune_consumergroup_partition_owned":
                number = "somebody" if value else None
            end = found["kafka_topic_partition_current_offset", _place(labels)]
            rows[place] = rows.get(place, Row(None, int(end), None, None))._replace(**{by_name[name]: number})
    return rows


def _place(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, labels[name]) for name in ("topic", "partition"))


@pytest.mark.kafka
async def test_figures_are_those_of_kafkas_own_tool(kafka: Any, topic_factory: Callable[..., Awaitable[str]]) -> None:
    """While one group moves, one stalls, one stops, and one speaks the newer protocol: offsets, lag and members."""
    topic = await topic_factory("exported", 3, message_timestamp_type="LogAppendTime")
    moves, stalls, stops, modern = (f"{word}-{topic}" for word in ("moves", "stalls", "stops", "modern"))
    for partition, count in enumerate((500, 7, 0)):
        await fill(kafka.bootstrap, topic, partition, count)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with contextlib.AsyncExitStack() as members, watching(KafkaSettings(bootstrap=kafka.bootstrap)) as at_work:
        mover = await joined(members, member(kafka.bootstrap, topic, moves))
        staller = await joined(members, member(kafka.bootstrap, topic, stalls))
        stopper = member(kafka.bootstrap, topic, stops)
        await stopper.start()
        await staller.commit({first: 5, second: 7})
        await stopper.commit({first: 12})
        await stopper.stop()
        members.enter_context(speaking_the_newer_protocol(kafka.bootstrap, topic, modern))
        for step in (3, 9, 15):
            await mover.commit({first: step, second: 7})
            printed = await asyncio.to_thread(described, kafka.bootstrap)
            for group in (moves, stalls, stops, modern):
                theirs = {
                    place: row._replace(member=row.member and "somebody")
                    for place, row in printed.items()
                    if place[0] == group
                }
                assert theirs
                await at_work.until(lambda: shown(at_work.samples(), group) == theirs)  # noqa: B023
        assert at_work.value("kafka_consumergroup_lag", consumergroup=moves, topic=topic, partition="0") == 485
        for step in range(16, 500):
            await mover.commit({first: step, second: 7})
            if status(at_work, moves) == "OK":
                break
            await asyncio.sleep(0.1)
        assert status(at_work, moves) == "OK"
        await at_work.until(lambda: status(at_work, stalls) == "STALL")
        assert status(at_work, stops) == "STOP"
        assert at_work.value("kafka_consumergroup_members", consumergroup=stops) == 0
        assert at_work.value("kafka_consumergroup_members", consumergroup=modern) == 1
        assert at_work.value("attune_consumergroup_state", consumergroup=modern, state="Stable") == 1
        assert at_work.value("kafka_consumergroup_lag_sum", consumergroup=stops, topic=topic) == 488
        behind = at_work.value("kafka_consumergroup_lag_seconds", consumergroup=stops, topic=topic, partition="0")
        assert behind is not None
        assert behind > 1
        assert at_work.value("kafka_topic_partition_oldest_offset", topic=topic, partition="0") == 0
        assert at_work.value("kafka_topic_partitions", topic=topic) == 3


def status(at_work: Watching, group: str) -> str:
    """Return the status whose figure is 1."""
    (found,) = [
        dict(labels)["status"]
        for (name, labels), value in at_work.samples().items()
        if name == "attune_consumergroup_status" and dict(labels)["consumergroup"] == group and value
    ] or [""]
    return found


async def joined(members: contextlib.AsyncExitStack, consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Start a member that leaves at the end."""
    members.push_async_callback(consumer.stop)
    await consumer.start()
    return consumer


@contextlib.contextmanager
def speaking_the_newer_protocol(bootstrap: str, topic: str, group: str) -> Any:
    """Join by KIP-848 and commit one offset; librdkafka answers the broker in a thread of its own."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        for _ in range(200):
            consumer.poll(0.1)
            if len(consumer.assignment()) == 3:
                break
        consumer.commit(offsets=[confluent_kafka.TopicPartition(topic, 0, 4)], asynchronous=False)
        yield
    finally:
        consumer.close()


@pytest.mark.kafka
async def test_outputs_latency_and_dead_letters(tmp_path: Path) -> None:
    """Decisions and suppressions count once each by their labels, latency follows the headers, dead letters age."""
    platform = LocalPlatform(tmp_path / "platform")
    platform.start()
    connection = KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1)
    try:
        await create_topics(connection)
        async with sending(connection) as send, watching(connection) as at_work:
            await at_work.until(lambda: at_work.exporter.follows)
            interaction = await send(topics.INTERACTIONS, b"interaction", [])
            origin = names.Origin(topics.INTERACTIONS, 0, interaction.offset)
            journal = await send(topics.JOURNAL, b"journal", [(names.ORIGIN, bytes(origin))])
            again = await send(topics.JOURNAL, b"journal", [(names.ORIGIN, bytes(origin))])
            decision = EMBEDDED.encode("NextBestAction", DECISION)
            suppression = EMBEDDED.encode("Suppression", SUPPRESSION)
            for offset, index in ((journal.offset, 0), (journal.offset, 0), (journal.offset, 1), (again.offset, 0)):
                await send(topics.NEXT_BEST_ACTIONS, decision, [at(offset, index)])
            await send(topics.SUPPRESSIONS, suppression, [at(journal.offset, 2)])
            await send(topics.SUPPRESSIONS, b"garbage", [at(again.offset, 1)])
            await send(topics.JOURNAL_DEAD, b"dead", [])
            await send(topics.JOURNAL_DEAD, b"dead", [])
            labels = {"kind": DECISION["kind"], "reason": DECISION["reason"], "action": DECISION["action_id"]}
            await at_work.until(lambda: at_work.value("attune_outputs_unreadable_total", topic=topics.SUPPRESSIONS))
            assert at_work.value("attune_decisions_total", **labels) == 3
            labels = {"status": SUPPRESSION["status"], "reason": SUPPRESSION["reason"]}
            assert at_work.value("attune_suppressions_total", **labels) == 1
            await at_work.until(lambda: at_work.value("attune_action_latency_seconds_count"))
            await at_work.until(lambda: at_work.value("attune_dead_letters_retained", topic=topics.JOURNAL_DEAD) == 2)
            assert at_work.value("attune_dead_letters_appended_total", topic=topics.JOURNAL_DEAD) == 2
            age = at_work.value("attune_dead_letter_oldest_age_seconds", topic=topics.JOURNAL_DEAD)
            assert age is not None
            assert 0 <= age < 600
            kept = at_work.value("attune_dead_letter_retention_seconds", topic=topics.JOURNAL_DEAD)
            assert kept == 14 * 86_400
            assert at_work.value("attune_dead_letter_oldest_age_seconds", topic=topics.INTERACTIONS_DEAD) is None
    finally:
        platform.stop()


@pytest.mark.kafka
async def test_latency_is_append_minus_append(tmp_path: Path) -> None:
    """It is the broker's two times to the millisecond; what no interaction led to, or is gone, gives none."""
    platform = LocalPlatform(tmp_path / "platform")
    platform.start()
    connection = KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1)
    registry = CollectorRegistry()
    latency = Latency(registry)
    try:
        await create_topics(connection)
        async with sending(connection) as send, contextlib.AsyncExitStack() as ending:
            consumer = await joined(ending, clients.consumer(connection))
            begun = await send(topics.INTERACTIONS, b"interaction", [])
            origin = names.Origin(topics.INTERACTIONS, 0, begun.offset)
            journal = await send(topics.JOURNAL, b"journal", [(names.ORIGIN, bytes(origin))])
            tick = await send(topics.JOURNAL, b"tick", [])
            gone = await send(topics.JOURNAL, b"", [(names.ORIGIN, bytes(origin._replace(offset=999)))])
            await asyncio.sleep(0.05)
            output = await send(topics.NEXT_BEST_ACTIONS, b"output", [])
            for cause, measured in ((tick, 0), (gone, 0), (journal, 1)):
                latency.offer(names.Position(0, cause.offset, 0), output.timestamp)
                assert await latency.measure(consumer) == measured
            assert await latency.measure(consumer) == 0
    finally:
        platform.stop()
    found = registry.get_sample_value("attune_action_latency_seconds_sum")
    assert found == (output.timestamp - begun.timestamp) / 1000 >= 0.05


def test_of_a_second_each_output_has_the_same_chance() -> None:
    """Of ten outputs of a partition one is kept, over many seconds each as often as another."""
    latency = Latency(CollectorRegistry(), seed=1)
    kept: collections.Counter[int] = collections.Counter()
    for _ in range(2_000):
        for offset in range(10):
            latency.offer(names.Position(3, offset, 0), 0)
        kept[latency.take()[3].journal_offset] += 1
    assert kept.total() == 2_000
    assert all(130 < kept[offset] < 270 for offset in range(10)), kept


@pytest.mark.kafka
async def test_a_broker_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The exporter says so and goes on; its figures of the cluster leave when they are old, and come back."""
    platform = LocalPlatform(tmp_path / "platform")
    platform.start()
    connection = KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1)
    try:
        await create_topics(connection)
        async with watching(connection, request_timeout_ms=2_000) as at_work:
            place = {"topic": topics.JOURNAL, "partition": "0"}
            await at_work.until(lambda: at_work.value("attune_exporter_up") == 1)
            assert at_work.value("kafka_topic_partition_current_offset", **place) == 0
            await at_work.until(lambda: at_work.exporter.follows)
            platform.stop_broker(kill=True)
            await at_work.until(lambda: at_work.value("attune_exporter_up") == 0)
            assert (at_work.value("attune_exporter_failures_total") or 0) > 0
            assert (at_work.value("attune_exporter_last_success_timestamp_seconds") or 0) > 0
            await at_work.until(lambda: at_work.value("kafka_topic_partition_current_offset", **place) is None)
            platform.start_broker()
            async with sending(connection) as send:
                await send(topics.JOURNAL, b"after", [])
                decision = EMBEDDED.encode("NextBestAction", DECISION)
                await send(topics.NEXT_BEST_ACTIONS, decision, [at(0, 0)])
            await at_work.until(lambda: at_work.value("attune_exporter_up") == 1)
            await at_work.until(lambda: at_work.value("kafka_topic_partition_current_offset", **place) == 1)
            await at_work.until(lambda: re.search(r"attune_decisions_total\{.*\} 1.0", page(at_work)))
    finally:
        platform.stop()


async def test_a_cluster_that_was_never_there() -> None:
    """Without a broker it is up as a process, shows 0 and no success, and tries again."""
    async with watching(KafkaSettings(bootstrap="127.0.0.1:1")) as at_work:
        await at_work.until(lambda: (at_work.value("attune_exporter_failures_total") or 0) >= 4)
        assert at_work.value("attune_exporter_up") == 0
        assert at_work.value("attune_exporter_last_success_timestamp_seconds") == 0
        assert "kafka_topic_partitions" not in page(at_work)


def page(at_work: Watching) -> str:
    """Return what Prometheus would read."""
    return generate_latest(at_work.registry).decode()


def at(offset: int, index: int) -> tuple[str, bytes]:
    """Return the header of an output of journal partition 0."""
    return names.POSITION, bytes(names.Position(0, offset, index))


async def create_topics(connection: KafkaSettings) -> None:
    admin = clients.admin(connection)
    await admin.start()
    try:
        await topic_admin.apply(admin, CATALOGUE, replication=1)
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def sending(connection: KafkaSettings) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Yield a function that appends a record to partition 0 of a topic."""
    producer: AIOKafkaProducer = clients.producer(connection)
    await producer.start()

    async def send(topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> Any:
        return await producer.send_and_wait(topic, value, partition=0, headers=headers)

    try:
        yield send
    finally:
        await producer.stop()


@pytest.mark.kafka
async def test_a_cluster_of_many_topics_is_looked_at_in_one_request(kafka: Any) -> None:
    """A consumer that knows of none of 150 topics gets the ends of all of them well within one time-out."""
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    admin, consumer = clients.admin(settings), clients.consumer(settings)
    await admin.start()
    await consumer.start()
    many = {f"many-{uuid.uuid4().hex[:8]}" for _ in range(150)}
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in many])
        found = await Surveyor().look(admin, consumer)
        assert many <= {one.topic for one in found.partitions}
    finally:
        await admin.delete_topics(list(many))
        await consumer.stop()
        await admin.close()
