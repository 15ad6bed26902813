"""`attune worker coordinator` when a client fails: a line that says what to do, and exit code 1."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from agents import workers
from agents.clients import kafka
from agents.metrics import Gate
from agents.platform import process
from agents.settings import Settings, variable
from schemas import topics
from tests.agents.cli.conftest import Attune


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Set addresses at which nothing listens; returns that of Kafka."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv(variable("kafka.bootstrap"), address)
    monkeypatch.setenv(variable("redis.url"), f"redis://{address}/0")
    monkeypatch.setenv(variable("home"), str(tmp_path))
    return address


@pytest.mark.parametrize(
    "error",
    [
        TopicAuthorizationFailedError(topics.JOURNAL),
        OSError("no route to host"),
        ExceptionGroup("tasks", [ExceptionGroup("inner", [KafkaConnectionError("away"), OSError("reset")])]),
    ],
)
def test_a_client_that_fails(reachable: str, attune: Attune, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Exit 1 with one line, no traceback: what failed, that nothing is lost, what to look at and to run."""

    async def coordinate(_: Settings, __: Gate) -> None:
        raise error

    monkeypatch.setattr(workers, "coordinate", coordinate)
    done = attune("worker", "coordinator")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "the coordinator ended: " in line
    assert all(words in line for words in (reachable, "`attune topics check`", "`attune worker coordinator` again"))
    if isinstance(error, ExceptionGroup):
        assert "away; reset" in line


def test_a_bug_keeps_its_stack(reachable: str, attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no trouble of a client is not dressed up as one."""

    async def coordinate(_: Settings, __: Gate) -> None:
        raise ExceptionGroup("tasks", [KafkaConnectionError("away"), KeyError("a bug")])

    monkeypatch.setattr(workers, "coordinate", coordinate)
    with pytest.raises(ExceptionGroup, match="tasks"):
        attune("worker", "coordinator")


@pytest.mark.parametrize("role", workers.ROLES)
def test_a_worker_waits_for_its_cluster(reachable: str, tmp_path: Path, role: str) -> None:
    """Where nothing listens it says so, in its log and to whoever asks whether it is ready, until it is ended."""
    port = process.free_port()
    asked = {variable("metrics.port"): str(port), variable("privacy.secret"): "s" * 32}
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "agents.cli.main", "worker", role], env=os.environ | asked, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 30
        while (said := (tmp_path / "log").read_text()).count("Unable to bootstrap") < 2:
            assert worker.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
        with answer.value as refused:
            assert (refused.code, refused.read()[:7]) == (503, b"waits: ")
        assert reachable.partition(":")[2] in said
        assert "Traceback" not in said
        worker.terminate()
        assert worker.wait(20) == 0, (tmp_path / "log").read_text()
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.kafka
def test_a_client_that_fails_at_work(connected: Settings, attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that fails at a tick, and a client that then does not stop, end the process all the same."""
    made = kafka.producer

    def failing(*arguments: Any, **options: Any) -> Any:
        producer = made(*arguments, **options)
        stop = producer.stop

        async def send_and_wait(*_: Any, **__: Any) -> None:
            raise TopicAuthorizationFailedError(topics.JOURNAL)

        async def never_stop() -> None:
            await stop()
            await asyncio.Event().wait()

        producer.send_and_wait, producer.stop = send_and_wait, never_stop
        return producer

    monkeypatch.setattr(kafka, "producer", failing)
    monkeypatch.setattr(workers, "_STOP_SECONDS", 0.5)
    done = attune("worker", "coordinator")
    assert done.code == 1
    assert "TopicAuthorizationFailedError" in done.err
    assert "did not end in order" in done.err


@pytest.mark.kafka
def test_a_signal_is_no_failure(connected: Settings, attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM ends it with exit 0, its clients stopped."""
    coordinate = workers.coordinate

    async def terminated(settings: Settings, gate: Gate) -> None:
        asyncio.get_running_loop().call_later(1, os.kill, os.getpid(), signal.SIGTERM)
        await coordinate(settings, gate)

    monkeypatch.setattr(workers, "coordinate", terminated)
    assert attune("worker", "coordinator").code == 0
