"""A client of Kafka that comes up when its cluster does, and leaves nothing behind where it does not."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from agents.engine import kafka
from agents.engine.errors import EngineError


class Client:
    """Starts as it is told: by an error, never, or well."""

    def __init__(self, start: BaseException | None = None, stop: BaseException | None = None) -> None:
        self.start_raises, self.stop_raises = start, stop
        self.hangs_at_start = self.hangs_at_stop = False
        self.starting, self.answered = asyncio.Event(), asyncio.Event()
        self.stopped = False

    async def start(self) -> None:
        self.starting.set()
        if self.hangs_at_start:
            await self.answered.wait()
        if self.start_raises is not None:
            raise self.start_raises

    async def stop(self) -> None:
        self.stopped = True
        if self.hangs_at_stop:
            await asyncio.Event().wait()
        if self.stop_raises is not None:
            raise self.stop_raises


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing long."""
    monkeypatch.setattr(kafka, "_CONNECT_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(kafka, "_KILL_SECONDS", 0.05)


def one_after_another(clients: list[Client]) -> Any:
    """Return a factory of these."""
    left: Iterator[Client] = iter(clients)
    return lambda: next(left)


async def test_a_cluster_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Every client that did not come up is ended, and the log says what is waited for."""
    clients = [Client(KafkaConnectionError("nobody there")), Client(KafkaConnectionError("still nobody")), Client()]
    assert await kafka.connected(one_after_another(clients)) is clients[2]
    assert [one.stopped for one in clients] == [True, True, False]
    assert caplog.text.count("Kafka is waited for") == 2


@pytest.mark.parametrize("stop", [None, KafkaError("half open")])
async def test_any_other_error_is_raised(stop: BaseException | None) -> None:
    """As it is, whatever the end of the client says."""
    client = Client(TopicAuthorizationFailedError("secret"), stop)
    with pytest.raises(TopicAuthorizationFailedError):
        await kafka.connected(lambda: client)  # type: ignore[arg-type,return-value]
    assert client.stopped


async def test_who_is_asked_to_end_waits_for_nobody() -> None:
    """A client that starts, and does not end either, holds nobody up for long."""
    client = Client()
    client.hangs_at_start = client.hangs_at_stop = True
    connecting = asyncio.create_task(kafka.connected(lambda: client))  # type: ignore[arg-type,return-value]
    await client.starting.wait()
    connecting.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await connecting
    assert client.stopped


@pytest.mark.parametrize("when", ["while it waits", "while a client starts"])
async def test_a_log_that_is_stopped_opens_nothing_more(when: str) -> None:
    """Whoever still wants something of it is told, and no client stays open."""
    clients: list[Client] = []

    def new() -> Any:
        clients.append(Client(KafkaConnectionError("away") if when == "while it waits" else None))
        clients[-1].hangs_at_start = when == "while a client starts"
        return clients[-1]

    log = kafka.KafkaLog(producer=new, consumer=new)
    wanted = asyncio.create_task(log.bounds("topic", 0))
    while not clients:
        await asyncio.sleep(0)
    await clients[0].starting.wait()
    await log.stop()
    clients[0].answered.set()
    async with asyncio.timeout(1):
        with pytest.raises(EngineError, match="the log is stopped"):
            await wanted
    assert all(one.stopped for one in clients)
