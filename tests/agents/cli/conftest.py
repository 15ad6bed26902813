"""The command line in this process: what it printed, and with which code it ended."""

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer

from agents.cli import main
from agents.clients import kafka
from agents.ops import topics as topic_admin
from agents.settings import Settings, variable
from schemas.catalogue import CATALOGUE


class Done(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str


Attune = Callable[..., Done]


@pytest.fixture
def attune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Attune]:
    """Yield a function that runs `attune ARGUMENTS`, with what is typed into it."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level

    def run(*arguments: str, typed: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["attune", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    yield run
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.fixture
def connected(cluster: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Let commands reach the tests' Kafka, with the topics of the catalogue."""
    assert cluster.kafka.bootstrap is not None
    assert cluster.redis.url is not None
    assert cluster.privacy.secret is not None
    monkeypatch.setenv(variable("kafka.bootstrap"), cluster.kafka.bootstrap)
    monkeypatch.setenv(variable("redis.url"), cluster.redis.url)
    monkeypatch.setenv(variable("home"), str(cluster.home))
    monkeypatch.setenv(variable("privacy.secret"), cluster.privacy.secret.get_secret_value())

    async def apply() -> None:
        admin = kafka.admin(cluster.kafka)
        await admin.start()
        try:
            await topic_admin.apply(admin, CATALOGUE, replication=1)
        finally:
            await admin.close()

    asyncio.run(apply())
    return cluster


def send(settings: Settings, records: list[dict[str, Any]]) -> list[int]:
    """Append records (keyword arguments of a producer's `send`) and return their offsets."""

    async def run() -> list[int]:
        producer: AIOKafkaProducer = kafka.producer(settings.kafka)
        await producer.start()
        try:
            return [(await producer.send_and_wait(**record)).offset for record in records]
        finally:
            await producer.stop()

    return asyncio.run(run())
