"""Fixtures that give every test a real Kafka and a real Valkey, and rules that the whole suite keeps."""

import asyncio
import dataclasses
import gc
import os
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.platform import process
from agents.platform.apicurio import ApicurioServer
from agents.platform.local import LocalPlatform
from agents.settings import Settings
from tests.faults.registry import Registry

hypothesis.settings.register_profile("attune", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("attune")

NO_ENGINE = "no container engine"
NO_HELM = "no helm on the PATH"
ALLOWED = (NO_ENGINE, NO_HELM)
"""A skip for these reasons is allowed everywhere; any other is a failure where ATTUNE_TEST_NO_SKIP is set.

Neither can be had from a package index: an engine needs its machine's owner, and Helm takes ten minutes to build.
"""


@dataclasses.dataclass(frozen=True)
class Kafka:
    """A broker for tests: its address, what kind it is, and the platform if it is embedded."""

    bootstrap: str
    kind: str
    platform: LocalPlatform | None = None


@dataclasses.dataclass(frozen=True)
class Redis:
    """A Valkey or Redis for tests."""

    url: str
    kind: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-seconds", type=float, default=20.0, help="how long each soak test runs")


def pytest_configure() -> None:
    """Say that the main thread has no event loop.

    pytest-asyncio would make one to remember as the loop before its own, and the first `asyncio.run` of a test
    drops it unclosed.
    """
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that does not say what holds; leave soaks to `-m soak` unless their time is short."""
    silent = [item.nodeid for item in items if isinstance(item, pytest.Function) and not item.function.__doc__]
    if silent:
        raise pytest.UsageError(
            "tests without a docstring that says what holds:\n  " + "\n  ".join(sorted(set(silent)))
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Make a skip a failure where everything must run."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("ATTUNE_TEST_NO_SKIP") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped, and ATTUNE_TEST_NO_SKIP is set: {reason}"


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tests read no attune.toml and no ATTUNE_ variable of the person who runs them."""
    for name in list(os.environ):
        if name.startswith("ATTUNE_") and not name.startswith("ATTUNE_TEST_"):
            monkeypatch.delenv(name)
    del request


@pytest.fixture(scope="session")
def _platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    platform = LocalPlatform(tmp_path_factory.mktemp("attune"))
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """Yield the cluster named by ATTUNE_TEST_KAFKA, a container, or the embedded broker."""
    if external := os.environ.get("ATTUNE_TEST_KAFKA"):
        yield Kafka(external, "external")
    elif os.environ.get("ATTUNE_TEST_PLATFORM") == "containers":
        with container("kafka") as started:
            yield Kafka(started.get_bootstrap_server(), "container")
    else:
        platform: LocalPlatform = request.getfixturevalue("_platform")
        yield Kafka(platform.bootstrap, "embedded", platform)


@pytest.fixture(scope="session")
def valkey(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """Yield the server named by ATTUNE_TEST_REDIS, a container, or the embedded Valkey."""
    if external := os.environ.get("ATTUNE_TEST_REDIS"):
        yield Redis(external, "external")
    elif os.environ.get("ATTUNE_TEST_PLATFORM") == "containers":
        with container("redis") as started:
            host, port = started.get_container_host_ip(), started.get_exposed_port(6379)
            yield Redis(f"redis://{host}:{port}/0", "container")
    else:
        platform: LocalPlatform = request.getfixturevalue("_platform")
        yield Redis(platform.redis_url, "embedded")


@pytest.fixture(scope="session")
def apicurio_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Yield a schema registry; its subjects are everybody's, so take names of your own."""
    registry = Registry(ApicurioServer(tmp_path_factory.mktemp("apicurio")))
    registry.start()
    yield registry
    process.stop(registry.pid)


def container(what: str) -> Any:
    """Return a container that is not started yet; skip with the reason where no engine answers."""
    reason = _why_no_engine()
    if reason is not None:
        pytest.skip(f"{NO_ENGINE} answers: {reason}")
    if what == "kafka":
        from testcontainers.community.kafka import KafkaContainer

        return KafkaContainer("apache/kafka:4.1.1")
    from testcontainers.community.redis import RedisContainer

    return RedisContainer("valkey/valkey:9-alpine")


def _why_no_engine() -> str | None:
    """Return what keeps the container engine from answering, or None.

    Docker's client leaves the socket of a failed connection to the garbage collector: it is collected here.
    """
    import docker

    reason = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            docker.from_env(timeout=3).ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            reason = f"{type(error).__name__}: {error}"
        gc.collect()
    return reason


@pytest.fixture
def cluster(kafka: Kafka, valkey: Redis, tmp_path: Path) -> Settings:
    """Return settings that reach the tests' Kafka and Valkey."""
    return Settings(
        home=tmp_path / "home",
        kafka={"bootstrap": kafka.bootstrap, "replication_factor": 1},  # type: ignore[arg-type]
        redis={"url": valkey.url},  # type: ignore[arg-type]
        privacy={"secret": "0123456789abcdef0123456789abcdef"},  # type: ignore[arg-type]
    )


@pytest.fixture
async def topic_factory(kafka: Kafka) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Yield a function that makes a topic of a unique name and returns it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()

    async def make(name: str = "test", partitions: int = 1, **config: str) -> str:
        topic = f"{name}-{uuid.uuid4().hex[:8]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings)])
        assert all(error[1] == 0 for error in answer.topic_errors), answer
        return topic

    yield make
    await admin.close()
