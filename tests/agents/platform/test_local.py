"""The embedded platform: real servers that start, keep their data, and die when they should."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.clients import valkey as valkey_client
from agents.errors import AttuneError
from agents.platform import jars, kafka, process
from agents.platform.local import LocalPlatform
from tests.conftest import container

ROOT = Path(__file__).parents[3]


@pytest.fixture
def platform(tmp_path: Path) -> object:
    made = LocalPlatform(tmp_path)
    yield made
    made.stop()


async def write(platform: LocalPlatform) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=platform.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=platform.bootstrap) as producer:
        await producer.send_and_wait("kept", b"value")
    client = valkey_client.client(platform.redis_url)
    await client.set("kept", b"value")
    await client.aclose()
    await asyncio.sleep(1.1)  # the append-only file is synced every second


async def read(platform: LocalPlatform) -> tuple[bytes, bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=platform.bootstrap) as consumer:
        consumer.assign([TopicPartition("kept", 0)])
        await consumer.seek_to_beginning()
        record = await consumer.getone()
    client = valkey_client.client(platform.redis_url)
    kept = await client.get("kept")
    await client.aclose()
    assert record.value is not None
    assert isinstance(kept, bytes)
    return record.value, kept


@pytest.mark.parametrize("kill", [False, True], ids=["clean", "killed"])
async def test_a_restart_finds_data_and_addresses(platform: LocalPlatform, kill: bool) -> None:
    """Stopped or killed, a platform that starts again has the same addresses and everything in it."""
    before = platform.start()
    await write(platform)
    if kill:
        for pid in (before.kafka_pid, before.valkey_pid):
            assert pid is not None
            process.stop(pid, kill=True)
        assert not platform.status().running
    else:
        assert platform.stop()
    after = platform.start()
    assert (after.bootstrap, after.redis_url) == (before.bootstrap, before.redis_url)
    assert await read(platform) == (b"value", b"value")


def test_a_cluster_id_is_no_option() -> None:
    """A cluster id never begins with a dash, which Kafka's storage tool would take for an option."""
    ids = {kafka.cluster_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    assert not any(found.startswith("-") for found in ids)


def test_starting_twice_is_harmless_and_a_taken_port_is_avoided(platform: LocalPlatform) -> None:
    """A second start finds what runs; a port that another program has taken meanwhile is replaced."""
    first = platform.start()
    assert platform.start() == first
    platform.stop()
    port = int(first.redis_url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        again = platform.start()
        assert again.running
        assert again.redis_url != first.redis_url


def test_a_broker_never_comes_back_on_another_port(platform: LocalPlatform) -> None:
    """While a broker is away nobody can take its port by chance, and if a program does, the start says so."""
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(ports.read_text().split()[0]) if ports.exists() else 49_152
    assert all(process.free_port() < first for _ in range(50))
    platform.start()
    port = int(platform.bootstrap.rpartition(":")[2])
    for _ in range(3):
        platform.stop_broker(kill=True)
        assert process.is_free(port), "a thread of the killed broker is left"
        platform.start_broker()
    platform.stop_broker()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(AttuneError, match=f"port {port} is taken"):
            platform.start_broker()


def test_servers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the process that started a platform ends both servers within seconds."""
    script = (
        "import sys, json, time, dataclasses\n"
        "from agents.platform.local import LocalPlatform\n"
        "status = LocalPlatform(sys.argv[1]).start()\n"
        "print(json.dumps(dataclasses.asdict(status)), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    status = json.loads(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(process.is_alive(status[name]) for name in ("kafka_pid", "valkey_pid")):
        assert time.monotonic() < deadline, "a server outlived its parent"
        time.sleep(0.1)


def test_the_command_starts_in_the_background_offline_and_stops(tmp_path: Path) -> None:
    """`attune local up` detaches, needs no network once the jars are cached, and `down` stops both servers."""
    jars.class_path()
    nowhere = "http://127.0.0.1:9"
    offline = {**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "ATTUNE_HOME": str(tmp_path)}

    def attune(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agents.cli.main", "local", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=offline, check=False, timeout=90)

    up = attune("up", "--json")
    try:
        assert up.returncode == 0, up.stderr
        assert json.loads(up.stdout)["running"] is True
        assert attune("status").returncode == 0
        assert "kafka.log" in attune("logs").stdout
    finally:
        down = attune("down", "--json")
    assert json.loads(down.stdout) == {"stopped": True}
    assert attune("status").returncode == 1
    assert attune("nonsense").returncode == 2


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jars and without a network the error names what is missing and the ways out."""
    import jgo

    def fail(endpoint: str) -> None:
        raise OSError("connection refused")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jgo, "build", fail)
    with pytest.raises(AttuneError, match="could not be fetched") as caught:
        jars.class_path()
    assert "ATTUNE_KAFKA__BOOTSTRAP" in caught.value.hint


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    """A broker that refuses its settings ends with the reason, not with a time-out."""
    platform = LocalPlatform(tmp_path, broker={"num.io.threads": "none"})
    with pytest.raises(AttuneError) as caught:
        platform.start()
    assert "num.io.threads" in caught.value.message
    with contextlib.suppress(AttuneError):
        platform.stop()


@pytest.mark.containers
async def test_containers_serve_where_an_engine_answers() -> None:
    """With a container engine, Kafka and Valkey from images serve the same clients."""
    with container("kafka") as kafka, container("redis") as redis:
        async with AIOKafkaProducer(bootstrap_servers=kafka.get_bootstrap_server()) as producer:
            assert await producer.client.fetch_all_metadata()
        client = valkey_client.client(f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0")
        assert await client.ping()
        await client.aclose()
