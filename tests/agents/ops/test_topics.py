"""The catalogue against a real cluster: what is missing is created, what differs is told or put right."""

import asyncio
import json
import secrets
import string
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents.cli import main
from agents.errors import AttuneError
from agents.ops import topics
from agents.ops.topics import Aspect
from schemas import catalogue
from schemas.catalogue import FILE, Catalogue
from tests.conftest import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def domain() -> str:
    """A domain of this test alone, so that its topics are no other test's."""
    return "t" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(10))


@pytest.fixture
def committed(domain: str) -> Catalogue:
    """The committed catalogue in that domain."""
    return catalogue.load(FILE.read_text().replace("crm.", f"{domain}."))


@pytest.fixture
async def admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    yield client
    await client.close()


async def test_what_is_missing_is_created_and_then_nothing_differs(
    admin: AIOKafkaAdminClient, committed: Catalogue
) -> None:
    """Everything is missing at first; afterwards nothing differs, and applying again does nothing."""
    planned = await topics.compare(admin, committed, replication=1)
    assert [(found.topic, found.aspect) for found in planned] == [(name, Aspect.EXISTENCE) for name in committed.topics]
    assert await topics.apply(admin, committed, replication=1) == planned
    assert await topics.compare(admin, committed, replication=1) == []
    assert await topics.apply(admin, committed, replication=1) == []
    present = {topic["topic"]: topic for topic in await admin.describe_topics()}
    for topic in committed.topics.values():
        assert len(present[topic.name]["partitions"]) == topic.partitions


async def test_planning_creates_nothing(admin: AIOKafkaAdminClient, committed: Catalogue) -> None:
    """Asking for a topic by name would create it on a broker that creates topics by itself; plan does not."""
    await topics.compare(admin, committed, replication=1)
    assert not set(committed.topics) & set(await admin.list_topics())


async def test_two_that_apply_at_once_both_succeed(kafka: Kafka, committed: Catalogue) -> None:
    """Topics that another made meanwhile are no error."""
    clients = [AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap) for _ in range(2)]
    for client in clients:
        await client.start()
    try:
        await asyncio.gather(*(topics.apply(client, committed, replication=1) for client in clients))
        assert await topics.compare(clients[0], committed, replication=1) == []
    finally:
        for client in clients:
            await client.close()


async def test_a_configuration_is_put_right_and_others_settings_stay(
    admin: AIOKafkaAdminClient, committed: Catalogue, domain: str
) -> None:
    """Retention and cleanup are changed back; what somebody else set on the topic stays set."""
    await topics.apply(admin, committed, replication=1)
    name = f"{domain}.suppressions.v1"
    others = {"retention.ms": "1000", "cleanup.policy": "compact", "max.message.bytes": "777777"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, others)])
    found: dict[str, topics.Difference] = {}
    while not found:  # a broker shows the change a moment after it was accepted
        found = {item.name: item for item in await topics.compare(admin, committed, replication=1)}
    assert {"retention.ms", "cleanup.policy", "message.timestamp.type"} <= set(found)
    assert str(found["retention.ms"]) == f"{name}: retention.ms is 1000, the catalogue says 2592000000"
    assert all(difference.appliable and difference.topic == name for difference in found.values())
    await topics.apply(admin, committed, replication=1)
    assert await topics.compare(admin, committed, replication=1) == []
    kept = await topics.topic_configs(admin, [name], own_only=True)
    assert kept[name]["max.message.bytes"] == "777777"


async def test_partitions_and_replication_are_told_and_left_alone(
    admin: AIOKafkaAdminClient, committed: Catalogue, domain: str
) -> None:
    """More partitions would move keys: apply does not do it and the difference says what can be done."""
    await topics.apply(admin, committed, replication=1)
    name = f"{domain}.suppressions.v1"
    wider = catalogue.load(FILE.read_text().replace("crm.", f"{domain}.").replace("partitions: 6", "partitions: 8", 99))
    await topics.apply(admin, wider, replication=1)
    found = [difference for difference in await topics.compare(admin, wider, replication=1) if difference.topic == name]
    assert [(item.aspect, item.wanted, item.found, item.appliable) for item in found] == [
        (Aspect.PARTITIONS, "8", "6", False)
    ]
    copies = [item for item in await topics.compare(admin, committed) if item.aspect is Aspect.REPLICATION]
    assert {item.topic for item in copies} == set(committed.topics)
    assert not any(item.appliable for item in copies)


async def test_too_few_brokers_is_an_error_that_says_what_to_do(
    admin: AIOKafkaAdminClient, committed: Catalogue
) -> None:
    """Kafka answers with a code and no exception: it is not taken for success."""
    with pytest.raises(AttuneError, match="cannot keep 50 copies") as caught:
        await topics.apply(admin, committed, replication=50)
    assert "--replication 1" in caught.value.hint


def _attune(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["attune", "topics", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def test_the_command_plans_applies_and_checks(
    kafka: Kafka,
    committed: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 1 while something differs, 0 afterwards; --json prints one object; the setting replaces --replication."""
    monkeypatch.setenv("ATTUNE_KAFKA__BOOTSTRAP", kafka.bootstrap)
    monkeypatch.setattr(catalogue, "CATALOGUE", committed)

    def run(*arguments: str) -> tuple[int, Any]:
        code = _attune(*arguments, "--json", monkeypatch=monkeypatch)
        return code, json.loads(capsys.readouterr().out)

    code, planned = run("plan", "--replication", "1")
    assert (code, planned["ok"], len(planned["differences"])) == (0, False, len(committed.topics))
    assert run("check", "--replication", "1")[0] == 1
    code, applied = run("apply", "--replication", "1")
    assert (code, applied["ok"], len(applied["applied"])) == (0, True, len(committed.topics))
    monkeypatch.setenv("ATTUNE_KAFKA__REPLICATION_FACTOR", "1")
    assert run("check") == (0, {"differences": [], "ok": True})
    assert _attune("check", monkeypatch=monkeypatch) == 0
    assert "every topic is as the catalogue says" in capsys.readouterr().out
    assert _attune("check", "--replication", "0", monkeypatch=monkeypatch) == 2


def test_an_absent_broker_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, the address, and the settings to look at."""
    monkeypatch.setenv("ATTUNE_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    assert _attune("check", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().err
    assert "127.0.0.1:9" in told
    assert "kafka.bootstrap" in told
