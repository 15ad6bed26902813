"""The /metrics of a process: where it is served, what an engine shows of itself, and what a taken port leads to."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry
from typer.testing import CliRunner

from agents import metrics
from agents.cli.main import app
from agents.engine.memory import MemoryLog
from agents.engine.worker import Engine
from agents.engine_metrics import EngineCollector, waits
from agents.errors import AttuneError
from agents.settings import MetricsSettings, variable
from tests.agents.engine import counting

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"


def read(url: str) -> dict[str, float]:
    """Return every sample of a page by name and labels, in the order of the labels."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return samples(answer.read().decode())


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that somebody listens on."""
    with socket.create_server((HOST, 0)) as server:
        yield int(server.getsockname()[1])


def test_off_by_default() -> None:
    """Without a port nothing is served."""
    with metrics.served(MetricsSettings(), "fold", registry=CollectorRegistry()) as address:
        assert address is None


def test_a_page_says_what_the_process_is() -> None:
    """Port 0 takes a free one; counts by outcome are counters; after the block nobody listens any more."""
    registry, counts = CollectorRegistry(), {"dispatched": 2}
    settled = metrics.Counts("attune_connector_actions", "Settled.", lambda: counts)
    with metrics.served(MetricsSettings(port=0), "connector", settled, registry=registry) as address:
        assert address is not None
        page = read(address)
        assert [name for name in page if name.startswith("attune_process_info{role=connector,version=")]
        assert page["attune_connector_actions_total{outcome=dispatched}"] == 2
        counts["dispatched"] = 3
        assert read(address)["attune_connector_actions_total{outcome=dispatched}"] == 3
    with pytest.raises(OSError):
        read(address)
    assert list(registry.collect()) == []


def test_ready_or_what_it_waits_for() -> None:
    """/readyz says in words what a process waits for, for an orchestrator by 503; metrics are served all the while."""
    waiting: list[str | None] = ["states are being restored"]
    registry = CollectorRegistry()
    with metrics.served(MetricsSettings(port=0), "fold", registry=registry, waits=lambda: waiting[0]) as address:
        assert address is not None
        ready = address.replace("/metrics", "/readyz")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(ready, timeout=10)
        assert (refused.value.code, refused.value.read()) == (503, b"waits: states are being restored\n")
        assert read(address)
        waiting[0] = None
        with urllib.request.urlopen(ready, timeout=10) as answer:
            assert answer.read() == b"ready\n"


def test_the_process_itself_is_in_the_default_registry() -> None:
    """CPU time and memory are prometheus-client's own."""
    with metrics.served(MetricsSettings(port=0), "fold") as address:
        assert address is not None
        page = read(address)
        assert page["process_cpu_seconds_total{}"] > 0
        assert page["process_resident_memory_bytes{}"] > 1_000_000


def test_a_taken_port_is_explained(taken: int) -> None:
    """The error names address and setting."""
    settings = MetricsSettings(port=taken)
    with pytest.raises(AttuneError, match=f"{HOST}:{taken}: Address already in use") as raised:  # noqa: SIM117
        with metrics.served(settings, "fold", registry=CollectorRegistry()):
            pass
    assert variable("metrics.port") in raised.value.hint
    with pytest.raises(AttuneError, match=f"{HOST}:{taken}"):
        metrics.ports(settings, ["router"])


def test_a_taken_port_names_the_flag_that_gave_it(taken: int) -> None:
    """Whoever typed --port is not sent to a setting that the flag would override; what no flag gave is a setting."""
    done = subprocess.run(
        [sys.executable, "-m", "agents.cli.main", "exporter", "--port", str(taken)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", variable("kafka.bootstrap"): "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert variable("metrics.port") not in done.stderr
    assert variable("metrics.host") in done.stderr


@pytest.mark.parametrize(
    "flag", [("--interval", "nan"), ("--interval", "inf"), ("--window", "nan"), ("--window", "inf")]
)
def test_an_exporter_never_waits_for_ever(flag: tuple[str, str]) -> None:
    """A time without end, or that is no number, is wrong use of the flag."""
    done = CliRunner().invoke(app, ["exporter", *flag])
    assert done.exit_code == 2
    assert flag[0] in done.stderr


def test_each_role_of_one_worker_has_its_port(taken: int) -> None:
    """Port, port + 1 and so on in the order of the roles; off and any free one are the same for all."""
    roles = ["router", "fold", "coordinator"]
    assert metrics.ports(MetricsSettings(), roles) == dict.fromkeys(roles)
    assert metrics.ports(MetricsSettings(port=0), roles) == dict.fromkeys(roles, 0)
    first = free_run(len(roles))
    assert metrics.ports(MetricsSettings(port=first), roles) == {
        "router": first,
        "fold": first + 1,
        "coordinator": first + 2,
    }
    with pytest.raises(AttuneError, match="no port 65536 for the metrics of the fold"):
        metrics.ports(MetricsSettings(port=65_535), roles)
    with pytest.raises(AttuneError, match="metrics cannot be served"):
        metrics.ports(MetricsSettings(port=taken - 2), roles)


def free_run(length: int) -> int:
    """Return the first of so many free ports in a row."""
    for first in range(20_000, 30_000, length):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + length):
                held.enter_context(socket.create_server((HOST, port)))
            return first
    raise AssertionError("no free ports in a row")


@pytest.mark.parametrize("role", [[], ["fold"]])
def test_a_worker_whose_port_is_taken_does_not_start(taken: int, role: list[str]) -> None:
    """Exit code 1 with the reason, before anything is read or written; all roles together as one alone."""
    environment = {variable("metrics.port"): str(taken), variable("kafka.bootstrap"): "127.0.0.1:1"}
    environment |= {variable("redis.url"): "redis://127.0.0.1:1", variable("privacy.secret"): "x" * 32}
    done = subprocess.run(
        [sys.executable, "-m", "agents.cli.main", "worker", *role],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"metrics cannot be served on {HOST}:{taken}" in done.stderr
    assert "Traceback" not in done.stderr


class Group:
    """A group that gives out the partition without ado."""

    async def committed(self, partition: int) -> int | None:
        return None

    async def check_ownership(self) -> bool:
        return True

    async def rewind(self, positions: object) -> int:
        return 0


async def test_an_engine_counts_and_counts_on() -> None:
    """Records, outputs, dead letters, positions, restores; a partition that comes back goes on counting."""
    log = counting.memory_log()
    counting.fill(log, 200, seed=3)
    engine = Engine(counting.job(), log)

    async def fatal(error: BaseException) -> None:
        raise error

    engine.bind(Group(), fatal)
    collector = EngineCollector("fold", engine)
    assert "partitions yet" in str(waits(engine))
    await engine.take_up([0])
    assert waits(engine) is None
    await fold_all(engine, log)
    first = shown(collector)
    letters = sum(1 for record in log.records(counting.SOURCE, 0) if record.value == b"poison")
    assert first["attune_records_total{partition=0,role=fold}"] == 200
    assert first["attune_dead_letters_total{partition=0,role=fold}"] == letters > 0
    assert first["attune_outputs_total{partition=0,role=fold}"] == len(counting.emitted(log))
    assert first["attune_batches_total{partition=0,role=fold}"] >= 1
    assert first["attune_durable_position{partition=0,role=fold}"] == 199
    assert first["attune_partition_blocked{partition=0,role=fold}"] == 0
    assert first["attune_states{partition=0,role=fold}"] > 0
    assert first["attune_assigned_partitions{role=fold}"] == 1
    assert first["attune_restores_total{role=fold}"] == 1
    assert first["attune_restore_running{role=fold}"] == 0
    await engine.revoke()
    engine.forget()
    assert "partitions yet" in str(waits(engine))
    away = shown(collector)
    assert away["attune_assigned_partitions{role=fold}"] == 0
    assert away["attune_records_total{partition=0,role=fold}"] == 200
    assert "attune_durable_position{partition=0,role=fold}" not in away
    counting.fill(log, 50, seed=4)
    await engine.take_up([0])
    await fold_all(engine, log)
    second = shown(collector)
    assert second["attune_records_total{partition=0,role=fold}"] == 250
    assert second["attune_restores_total{role=fold}"] == 2
    await engine.take_up([])
    assert waits(engine) is None, "a spare worker is at work, too"
    await engine.stop()


async def test_a_restore_shows_how_far_it_is() -> None:
    """While a changelog is read it runs and shows what is read of what is to be read; at the end all of it is."""
    log = counting.memory_log()
    counting.fill(log, 300, seed=5)
    seen: list[dict[str, float]] = []

    async def fatal(error: BaseException) -> None:
        raise error

    first = Engine(counting.job(max_batch_records=20), log)
    first.bind(Group(), fatal)
    await first.take_up([0])
    await fold_all(first, log)
    await first.stop()
    engine = Engine(counting.job(), log)
    engine.bind(Group(), fatal)
    collector, read_all = EngineCollector("fold", engine), log.read

    async def read_slowly(topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        async for records in read_all(topic, partition, start, end):
            for record in records:
                if topic == counting.CHANGELOG:
                    seen.append(shown(collector))
                yield [record]

    log.read = read_slowly  # type: ignore[method-assign]
    await engine.take_up([0])
    progress = [page["attune_restore_records_done{role=fold}"] for page in seen]
    assert {page["attune_restore_running{role=fold}"] for page in seen} == {1}
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, len(seen) - 1)
    after = shown(collector)
    assert after["attune_restore_records{role=fold}"] == after["attune_restore_records_done{role=fold}"] == len(seen)
    assert after["attune_restore_partitions_done{role=fold}"] == 1
    assert after["attune_last_restore_seconds{role=fold}"] > 0
    await engine.stop()


async def fold_all(engine: Engine, log: MemoryLog) -> None:
    """Hand over the source from where the partition is, and wait until it is durable."""
    partition = engine.partitions[0]
    records = log.records(counting.SOURCE, 0)
    engine.submit(0, [record for record in records if record.offset > partition.durable], serial=1)
    async with asyncio.timeout(90):
        while partition.durable < records[-1].offset:
            await asyncio.sleep(0.01)


def shown(collector: EngineCollector) -> dict[str, float]:
    """Return what the collector shows now."""
    registry = CollectorRegistry()
    registry.register(collector)
    return samples(generate_latest(registry).decode())
