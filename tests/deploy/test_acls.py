"""Each role's rights are enough for its work and no more: told by a broker that allows nobody what no ACL allows."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path

import pytest
import trustme
import yaml
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from typer.testing import CliRunner

from agents import acl_formats
from agents.acls import CONNECTOR_GROUP, Grant, Operation, Resource, principals, role, roles
from agents.cli import connector
from agents.cli.main import app
from agents.clients import access, kafka
from agents.ops import topic_formats
from agents.platform import jars, process
from agents.settings import KafkaSettings, variable
from agents.topology import TOPOLOGY
from agents.workers import ROLES
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.conftest import Redis
from tests.deploy.desk import ROOT, Desk, eventually, interactions, metrics, plain_options, poison, running, states_read
from tests.deploy.secured import Secured, operation_of, secured
from tests.deploy.tools import DEPLOY

WITH_RIGHTS = tuple(principals())
ACLS = acl_formats.plain(roles(), principals())


def attune(*arguments: str) -> str:
    """Return what a command prints."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_files_in_the_repository_are_fresh() -> None:
    """`attune acls --write` and `attune topics export --write` make them again."""
    assert json.loads(attune("acls", "--check", "--json"))["stale"] == []
    assert json.loads(attune("topics", "export", "--check", "--json"))["stale"] == []


def test_a_stale_file_is_told_and_mended(tmp_path: Path) -> None:
    """`--check` names the stale ones and fails, `--write` writes all of them."""
    assert attune("acls", "--write", "--folder", str(tmp_path)).count("written again") == 2
    (tmp_path / "acls.sh").write_text("old")
    with pytest.raises(Exception, match=r"acls\.sh in .* are stale"):
        attune("acls", "--check", "--folder", str(tmp_path))
    attune("acls", "--write", "--folder", str(tmp_path))
    assert (tmp_path / "acls.sh").read_text() == (DEPLOY / "kafka" / "acls.sh").read_text()


def test_every_agent_of_the_topology_has_the_rights_that_it_shows() -> None:
    """Reading, writing, group and state of an agent are in its grants."""
    for agent in TOPOLOGY:
        allowed = {(grant.resource, grant.name): set(grant.operations) for grant in role(agent.name).grants}
        for topic in agent.reads:
            assert Operation.READ in allowed[Resource.TOPIC, topic]
        for topic in agent.writes:
            assert Operation.WRITE in allowed[Resource.TOPIC, topic]
        if agent.group is not None:
            assert allowed[Resource.GROUP, agent.group] == {Operation.READ}
        if agent.state is not None:
            assert allowed[Resource.TOPIC, agent.state] == {Operation.READ, Operation.WRITE}


def test_every_topic_is_written_by_its_producers_alone() -> None:
    """Nobody but who the catalogue names may write a topic; only the deployer may make one or change it."""
    writers = {
        topic: {found.name for found in roles() if may(found.grants, Operation.WRITE, Resource.TOPIC, topic)}
        for topic in CATALOGUE.topics
    }
    assert writers == {
        topic: {agent.name for agent in TOPOLOGY if topic in agent.writes or topic == agent.state}
        for topic in CATALOGUE.topics
    }
    for operation in (Operation.CREATE, Operation.ALTER_CONFIGS):
        assert {found.name for found in roles() if any(operation in grant.operations for grant in found.grants)} == {
            "deployer"
        }


def test_the_connector_has_its_group() -> None:
    """The name stands twice, since commands do not import the topology."""
    assert connector.GROUP == CONNECTOR_GROUP


def test_who_a_role_is_can_be_said() -> None:
    """--principal replaces the user of one role; a mistake is told."""
    printed = json.loads(attune("acls", "fold", "api", "--principal", "fold=User:CN=crm fold", "--json"))["acls"]
    assert {acl["principal"] for acl in printed} == {"User:CN=crm fold"}
    assert {acl["role"] for acl in printed} == {"fold"}
    assert "allow 'User:CN=crm fold'" in attune("acls", "fold", "--principal", "fold=User:CN=crm fold")
    for wrong in ("fold", "fold=crm", "nobody=User:x", "api=User:x"):
        with pytest.raises(Exception, match=re.escape(f"--principal {wrong}")):
            attune("acls", "--principal", wrong)
    with pytest.raises(Exception, match="cannot be a KafkaUser"):
        attune("acls", "fold", "--format", "strimzi", "--principal", "fold=User:CN=crm fold")
    with pytest.raises(Exception, match="there is no role folds"):
        attune("acls", "folds")


def test_manifests_say_the_same_as_the_plain_values() -> None:
    """Strimzi's users and topics are those of `--json`, each once, bound to one cluster."""
    users = list(yaml.safe_load_all(attune("acls", "--format", "strimzi", "--cluster", "shop")))
    named = {
        (
            f"User:{user['metadata']['name']}",
            rule["resource"]["type"],
            rule["resource"]["name"],
            tuple(rule["operations"]),
        )
        for user in users
        for rule in user["spec"]["authorization"]["acls"]
    }
    assert named == {(acl["principal"], acl["resource"], acl["name"], tuple(acl["operations"])) for acl in ACLS}
    made = list(yaml.safe_load_all(attune("topics", "export", "--format", "strimzi", "--cluster", "shop")))
    assert [(one["spec"]["topicName"], one["spec"]["config"]) for one in made] == [
        (topic.name, CATALOGUE.settings(topic)) for topic in CATALOGUE.topics.values()
    ]
    assert {one["metadata"]["labels"]["strimzi.io/cluster"] for one in (*users, *made)} == {"shop"}


def may(grants: Sequence[Grant], operation: Operation, resource: Resource, name: str) -> bool:
    """Tell whether grants allow something, by Kafka's rules: Read and Write imply Describe."""
    wanted = {operation, Operation.READ, Operation.WRITE} if operation is Operation.DESCRIBE else {operation}
    return any(
        grant.resource is resource
        and wanted & set(grant.operations)
        and (name.startswith(grant.name) if grant.prefixed else grant.name in (name, "*"))
        for grant in grants
    )


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Yield a secured broker with a user for each role, and the rights as `attune acls` says them."""
    with secured(tmp_path_factory.mktemp("secured")) as found:
        found.allow(ACLS)
        yield found


@pytest.mark.kafka
def test_every_role_does_its_work_with_its_own_user(broker: Secured, valkey: Redis, tmp_path: Path) -> None:
    """From making topics to delivery, proof, views, lag, dead letters and replay: no right is missing."""
    desk = Desk(broker, valkey, tmp_path)
    desk.run("deployer", "topics", "apply")
    assert "nothing to do" in desk.run("deployer", "topics", "plan")
    desk.run("marketing", "model", "publish", "schemas/models/retail-activity-1.json", "--by", "test")
    desk.run("marketing", "policy", "publish", "schemas/packs/retail.yaml", "--by", "test")
    assert "active" in desk.run("marketing", "policy", "list")
    port = process.free_port()
    workers = [(name, "worker", name) for name in ROLES]
    with running(desk, *workers, ("exporter", "exporter", "--port", str(port), "--interval", "1")):
        log = tmp_path / "coordinator.log"
        eventually(lambda: "activated policy" in log.read_text(), "the policy was not activated", desk)
        desk.run("channels", "publish", str(interactions(tmp_path / "events.jsonl")))
        poison(broker.settings("channels"))
        report = json.loads(desk.run("auditors", "prove", "--wait", "60", "--json"))
        assert (report["held"], report["dead"], report["outputs"] > 0) == (True, 1, True), report
        delivered = tmp_path / "outbox.jsonl"
        flags = ("--delay-hours", "0", "--idle-flush", "0.5", "--outbox", str(delivered))
        with running(desk, ("connectors", "connector", *flags)):
            eventually(lambda: delivered.exists() and delivered.read_text(), "nothing was delivered", desk)
        lags = {group["group"]: group for group in json.loads(desk.run("exporter", "lag", "--json"))["groups"]}
        assert set(lags) >= {agent.group for agent in TOPOLOGY if agent.group} | {CONNECTOR_GROUP}
        seen = eventually(lambda: metrics(port, "attune_exporter_looks_total"), "the exporter never saw it", desk)
        assert seen["attune_exporter_failures_total"] == 0, desk.logs()
        letters = json.loads(desk.run("operations", "dlq", "list", "--json"))
        assert len(letters["letters"]) == 1, letters
        eventually(lambda: states_read(broker.settings("analysts")), "no state came for the analysts", desk)
        desk.run("views", "views", "rebuild")
        desk.run("auditors", "views", "check", "--wait", "30")
        assert "household" not in desk.run("auditors", "customer", "show", "household:1", "--json")
        desk.run("auditors", "as-of", "household:1", "--json")
        desk.run("auditors", "replay", "--json")


@pytest.fixture(scope="module")
def with_topics(broker: Secured) -> Secured:
    """Return the broker, with all topics."""
    desk = {**os.environ, variable("kafka.bootstrap"): broker.plain, variable("kafka.replication_factor"): "1"}
    command = [sys.executable, "-m", "agents.cli.main", "topics", "apply"]
    subprocess.run(command, cwd=ROOT, env=desk, check=True, capture_output=True, timeout=120)
    return broker


@pytest.mark.kafka
@pytest.mark.parametrize("name", [*WITH_RIGHTS, "nobody"])
async def test_nobody_may_do_more(with_topics: Secured, name: str) -> None:
    """What a role's grants do not allow the broker refuses: each topic to read and to write, each group to join."""
    connection = with_topics.settings(name)
    grants = () if name == "nobody" else role(name).grants
    allowed = {
        (operation, topic)
        for operation in (Operation.READ, Operation.WRITE)
        for topic in CATALOGUE.topics
        if may(grants, operation, Resource.TOPIC, topic)
    }
    refused = {(Operation.WRITE, topic) async for topic in unwritable(connection, allowed)}
    refused |= {(Operation.READ, topic) async for topic in unreadable(connection)}
    everything = {(operation, topic) for operation in (Operation.READ, Operation.WRITE) for topic in CATALOGUE.topics}
    assert refused == everything - allowed
    groups = [agent.group for agent in TOPOLOGY if agent.group] + [CONNECTOR_GROUP, "connectors-mail", "analysts-bi"]
    others = {group for group in groups if not may(grants, Operation.READ, Resource.GROUP, group)}
    assert {group async for group in closed(connection, others)} == others


async def unwritable(connection: KafkaSettings, allowed: set[tuple[Operation, str]]) -> AsyncIterator[str]:
    """Yield the topics that a user may not write; those that it may are not written."""
    async with AIOKafkaProducer(**plain_options(connection)) as producer:
        for topic in CATALOGUE.topics:
            if (Operation.WRITE, topic) not in allowed:
                try:
                    await producer.send_and_wait(topic, b"no", key=b"no", partition=0)
                except TopicAuthorizationFailedError:
                    yield topic


async def unreadable(connection: KafkaSettings) -> AsyncIterator[str]:
    """Yield the topics that a user may not read."""
    consumer = kafka.consumer(connection)
    await consumer.start()
    try:
        visible = await consumer.topics()
        for topic in CATALOGUE.topics:
            tp = TopicPartition(topic, 0)
            try:
                if topic not in visible:
                    raise TopicAuthorizationFailedError(topic)
                consumer.assign([tp])
                consumer.seek(tp, (await consumer.end_offsets([tp]))[tp])
                async with asyncio.timeout(90):
                    while consumer.highwater(tp) is None:
                        await consumer.getmany(tp, timeout_ms=50)
            except TopicAuthorizationFailedError:
                yield topic
    finally:
        await consumer.stop()


async def closed(connection: KafkaSettings, groups: Collection[str]) -> AsyncIterator[str]:
    """Yield those of some groups in whose name a user may not commit, which needs the right that joining needs."""
    tp = TopicPartition(topics.INTERACTIONS, 0)
    for group in sorted(groups):
        member = kafka.consumer(connection, group=group)
        await member.start()
        try:
            member.assign([tp])
            await member.commit({tp: 0})
        except GroupAuthorizationFailedError:
            yield group
        except TopicAuthorizationFailedError:
            continue  # the group lets it in, the topic does not
        finally:
            await member.stop()


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("name", "resource", "missing"),
    [
        *(
            pytest.param(agent.name, Resource.GROUP, agent.group, id=f"{agent.name} and its group")
            for agent in TOPOLOGY
            if agent.group
        ),
        pytest.param("fold", Resource.TOPIC, topics.JOURNAL, id="fold and its journal"),
        pytest.param("fold", Resource.TOPIC, topics.SUPPRESSIONS, id="fold and what it writes"),
        pytest.param("router", Resource.TOPIC, topics.INTERACTIONS, id="router and its interactions"),
        pytest.param("router", Resource.TOPIC, topics.ROUTER_MARKS, id="router and its marks"),
        pytest.param("connectors", Resource.GROUP, CONNECTOR_GROUP, id="connector and its group"),
        pytest.param("connectors", Resource.TOPIC, topics.SUPPRESSIONS, id="connector and the suppressions"),
    ],
)
def test_a_missing_right_is_told_at_once(
    with_topics: Secured, valkey: Redis, tmp_path: Path, name: str, resource: Resource, missing: str
) -> None:
    """Whoever lacks a right that it needs ends with 1 and names the ACL to add."""
    taken = [acl for acl in ACLS if (acl["role"], acl["resource"], acl["name"]) == (name, resource, missing)]
    with_topics.forbid(taken)
    try:
        command = ["connector"] if name == "connectors" else ["worker", name]
        said = Desk(with_topics, valkey, tmp_path).run(name, *command, code=1)
    finally:
        with_topics.allow(taken)
    (acl,) = taken
    command = access.Right(resource, missing, acl["operations"][0]).command(f"User:attune-{name}")
    assert f"add the ACL: {command};" in said.replace("\n", " ")


async def test_a_cluster_that_is_away_is_no_missing_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before a worker starts nothing is refused because nobody answered: it waits for its cluster as always."""
    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    away = Secured("", f"127.0.0.1:{process.free_port()}", tmp_path / "ca.pem").settings("fold")
    await access.check(away, "fold", role("fold").grants)
    assert "whether the fold has its rights is not known" in caplog.text


@pytest.mark.kafka
def test_the_scripts_do_what_the_values_say(with_topics: Secured, tmp_path: Path) -> None:
    """Run by Kafka's own tools, the script of a role gives it what `--json` says, and a topic's line makes it so."""
    chosen = {**principals(), "views": "User:by-script"}
    script = tmp_path / "acls.sh"
    script.write_text(acl_formats.commands([role("views")], chosen))
    tool(tmp_path / "kafka-acls.sh", "org.apache.kafka.tools.AclCommand")
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "BOOTSTRAP": with_topics.plain}
    subprocess.run(["sh", str(script)], env=environment, check=True, capture_output=True, timeout=300)
    wanted = {
        (acl["resource"], acl["name"], acl["pattern"], operation_of(operation).name)
        for acl in acl_formats.plain([role("views")], chosen)
        for operation in acl["operations"]
    }
    assert with_topics.allowed("User:by-script") == wanted
    assert with_topics.allowed("User:attune-views") == wanted

    whole = topic_formats.commands(CATALOGUE, 1)
    head, *creates = re.split(r"^(?=create crm)", whole, flags=re.MULTILINE)
    (one,) = [create for create in creates if create.startswith(f"create {topics.FOLD_CHANGELOG} ")]
    script.write_text(head + one.replace(topics.FOLD_CHANGELOG, "crm.by-script.v1"))
    tool(tmp_path / "kafka-topics.sh", "org.apache.kafka.tools.TopicCommand")
    subprocess.run(["sh", str(script)], env=environment, check=True, capture_output=True, timeout=300)
    configs = asyncio.run(own_configs(with_topics.plain, "crm.by-script.v1"))
    assert configs == CATALOGUE.settings(CATALOGUE.topics[topics.FOLD_CHANGELOG], 1)


def tool(path: Path, main: str) -> None:
    """Write what Kafka's distribution has under that name."""
    classes = os.pathsep.join(str(jar) for jar in jars.class_path())
    path.write_text(f'#!/bin/sh\nexec "{jars.java()}" -XX:TieredStopAtLevel=1 -cp "{classes}" {main} "$@"\n')
    path.chmod(0o755)


async def own_configs(bootstrap: str, topic: str) -> dict[str, str]:
    """Return the configuration that was set on a topic."""
    from agents.ops.topics import topic_configs

    admin = kafka.admin(KafkaSettings(bootstrap=bootstrap))
    await admin.start()
    try:
        return (await topic_configs(admin, [topic], own_only=True))[topic]
    finally:
        await admin.close()
