"""Lag of groups: Burrow's rules on samples, and the figures on a real broker beside Kafka's own tool."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents.ops.lag import Sample, Status, Window, group_lag, status_of
from agents.platform import jars


def samples(*rows: tuple[int, int]) -> list[Sample]:
    return [Sample(float(at), committed, lag) for at, (committed, lag) in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "owned", "status"),
    [
        ([(10, 0)], False, Status.OK),
        ([(10, 5), (10, 5)], True, Status.STALL),
        ([(10, 5), (10, 9)], False, Status.STOP),
        ([(10, 5)], False, Status.STOP),
        ([(10, 5)], True, Status.OK),
        ([(10, 0), (10, 5), (10, 9)], True, Status.OK),
        ([(10, 5), (12, 5), (14, 6)], True, Status.WARN),
        ([(10, 5), (12, 4), (14, 6)], True, Status.OK),
        ([(10, 5), (12, 3), (11, 4)], True, Status.WARN),
        ([(10, 5), (12, 3), (15, 0)], True, Status.OK),
        ([(10, 5), (12, 5)], False, Status.WARN),
    ],
)
def test_burrows_rules(rows: list[tuple[int, int]], owned: bool, status: Status) -> None:
    """Caught up once is OK; standing still is STALL or STOP; moving and never gaining is WARN."""
    assert status_of(samples(*rows), owned=owned) is status


def test_a_window_forgets() -> None:
    """Samples older than the window do not count, so that an old zero does not hide a stall for ever."""
    window, tp = Window(10), TopicPartition("t", 0)
    window.add("g", tp, Sample(0.0, 5, 0))
    window.add("g", tp, Sample(1.0, 5, 3))
    kept = window.add("g", tp, Sample(10.5, 5, 4))
    assert [sample.lag for sample in kept] == [3, 4]
    assert status_of(kept, owned=True) is Status.STALL


def test_a_window_forgets_groups_that_are_gone() -> None:
    """Groups come and go for as long as an exporter runs; what it remembers does not grow with them."""
    window, tp = Window(10), TopicPartition("t", 0)
    for group in ("here", "gone"):
        window.add(group, tp, Sample(0.0, 5, 5))
        window.note(group, tp, 5, 1_000)
    window.keep({("here", tp)})
    assert (window.appended_ms("here", tp, 5), window.appended_ms("gone", tp, 5)) == (1_000, None)
    assert len(window.add("here", tp, Sample(1.0, 6, 4))) == 2
    assert len(window.add("gone", tp, Sample(1.0, 6, 4))) == 1


@pytest.fixture
async def admin(kafka: Any) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def looker(kafka: Any) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50, auto_offset_reset="none"
    )
    await consumer.start()
    yield consumer
    await consumer.stop()


async def fill(bootstrap: str, topic: str, partition: int, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for _ in range(count):
        await producer.send(topic, b"x", partition=partition)
    await producer.stop()


def member(bootstrap: str, topic: str, group: str) -> Any:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        client_id="reader",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


@pytest.mark.kafka
async def test_figures_agree_with_kafkas_own_tool(
    kafka: Any, topic_factory: Callable[..., Awaitable[str]], admin: Any, looker: Any
) -> None:
    """Committed and end offsets, lag, client and host are those that ConsumerGroupCommand prints."""
    topic = await topic_factory("lag", 3, message_timestamp_type="LogAppendTime")
    group = f"group-{topic}"
    for partition, count in enumerate((10, 4, 0)):
        await fill(kafka.bootstrap, topic, partition, count)
    consumer = member(kafka.bootstrap, topic, group)
    await consumer.start()
    try:
        await consumer.commit({TopicPartition(topic, 0): 7, TopicPartition(topic, 1): 4})
        (found,) = await group_lag(admin, looker, [group])
        printed = await asyncio.to_thread(_kafkas_own, kafka.bootstrap, group)
    finally:
        await consumer.stop()
    ours = {
        row.partition: (row.committed, row.end, row.lag, row.member and row.member.client_id, row.member.host)
        for row in found.partitions
        if row.member is not None
    }
    assert ours == printed
    assert ours[0][:3] == (7, 10, 3)
    assert ours[2][:3] == (None, 0, None)
    assert found.state == "Stable"
    assert found.lag == 3


def _kafkas_own(bootstrap: str, group: str) -> dict[int, Any]:
    """Return partition -> committed, end, lag, client, host as Kafka's tool prints them."""
    command = [str(jars.java()), "-Xmx128m", "-cp", os.pathsep.join(map(str, jars.class_path()))]
    command += ["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"]
    command += ["--bootstrap-server", bootstrap, "--describe", "--group", group]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows: dict[int, Any] = {}
    for line in done.stdout.splitlines():
        cells = line.split()
        if len(cells) >= 9 and cells[0] == group:
            numbers = [None if cell == "-" else int(cell) for cell in cells[3:6]]
            rows[int(cells[2])] = (*numbers, cells[8], cells[7].lstrip("/"))
    return rows


@pytest.mark.kafka
async def test_seconds_and_statuses_of_a_group(
    kafka: Any, topic_factory: Callable[..., Awaitable[str]], admin: Any, looker: Any
) -> None:
    """A member that stands still stalls, seconds count from the record's append; a left group stops; reading heals."""
    topic = await topic_factory("lag", 1, message_timestamp_type="LogAppendTime")
    group, window, tp = f"group-{topic}", Window(), TopicPartition(topic, 0)
    await fill(kafka.bootstrap, topic, 0, 5)
    consumer = member(kafka.bootstrap, topic, group)
    await consumer.start()
    await consumer.commit({tp: 2})
    await group_lag(admin, looker, [group], window=window)
    await asyncio.sleep(0.5)
    (stalled,) = await group_lag(admin, looker, [group], window=window)
    assert stalled.status is Status.STALL
    assert 0.5 <= stalled.seconds < 30
    assert stalled.partitions[0].trend == 0.0
    assert [found.client_id for found in stalled.members] == ["reader"]
    await fill(kafka.bootstrap, topic, 0, 4)
    await consumer.commit({tp: 3})
    (losing,) = await group_lag(admin, looker, [group], window=window)
    assert losing.status is Status.WARN
    assert (losing.partitions[0].trend or 0) > 0
    await consumer.stop()
    later = Window()
    (stopped,) = await group_lag(admin, looker, [group], window=later)
    assert (stopped.state, stopped.status, stopped.members) == ("Empty", Status.STOP, ())
    consumer = member(kafka.bootstrap, topic, group)
    await consumer.start()
    await consumer.commit({tp: 9})
    await consumer.stop()
    (idle,) = await group_lag(admin, looker, [group], window=later)
    assert (idle.lag, idle.seconds, idle.status) == (0, 0.0, Status.OK)
    assert idle.to_json()["partitions"][0]["rate"] > 0


@pytest.mark.kafka
async def test_groups_that_are_gone(
    kafka: Any, topic_factory: Callable[..., Awaitable[str]], admin: Any, looker: Any
) -> None:
    """A group that never was is Dead and empty; a topic that was deleted is left out of a group's partitions."""
    topic = await topic_factory("lag", 1)
    group = f"group-{topic}"
    await fill(kafka.bootstrap, topic, 0, 1)
    consumer = member(kafka.bootstrap, topic, group)
    await consumer.start()
    await consumer.commit({TopicPartition(topic, 0): 0})
    await consumer.stop()
    assert group in {found.group for found in await group_lag(admin, looker)}
    await admin.delete_topics([topic])
    deadline = asyncio.get_running_loop().time() + 10
    while topic in {found["topic"] for found in await admin.describe_topics()}:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)
    gone, never = await group_lag(admin, looker, [group, "never-was"])
    assert gone.partitions == ()
    assert (never.state, never.status, never.partitions) == ("Dead", Status.OK, ())
