"""`attune worker coordinator` when a client fails: a line that says what to do, and exit code 1."""

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from agents import workers
from agents.clients import kafka
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

    async def coordinate(_: Settings) -> None:
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

    async def coordinate(_: Settings) -> None:
        raise ExceptionGroup("tasks", [KafkaConnectionError("away"), KeyError("a bug")])

    monkeypatch.setattr(workers, "coordinate", coordinate)
    with pytest.raises(ExceptionGroup, match="tasks"):
        attune("worker", "coordinator")


def test_no_broker(reachable: str, attune: Attune) -> None:
    """Where nothing listens it ends with exit 1 and the address, leaving no client open."""
    done = attune("worker", "coordinator")
    assert done.code == 1
    assert f"see whether Kafka answers at {reachable}" in done.err
    assert "Traceback" not in done.err


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

    async def terminated(settings: Settings) -> None:
        asyncio.get_running_loop().call_later(1, os.kill, os.getpid(), signal.SIGTERM)
        await coordinate(settings)

    monkeypatch.setattr(workers, "coordinate", terminated)
    assert attune("worker", "coordinator").code == 0
