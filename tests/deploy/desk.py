"""Commands of Attune, each run as the user of a role, and what those of other teams do beside them."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.clients import kafka
from agents.settings import KafkaSettings, variable
from schemas import headers, topics
from tests.conftest import Redis
from tests.deploy.secured import PASSWORD, Secured

ROOT = Path(__file__).parents[2]
_FIELDS = ("bootstrap", "security_protocol", "sasl_mechanism", "sasl_username", "ssl_cafile", "replication_factor")


class Desk:
    """Runs commands, each as the user of a role."""

    def __init__(self, broker: Secured, valkey: Redis, directory: Path) -> None:
        self.broker = broker
        self.directory = directory
        self._redis = valkey.url

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables under which a role runs."""
        connection = self.broker.settings(name)
        found = {variable(f"kafka.{field}"): str(getattr(connection, field)) for field in _FIELDS}
        return {
            **os.environ,
            **found,
            variable("kafka.sasl_password"): PASSWORD,
            variable("redis.url"): self._redis,
            variable("home"): str(self.directory / "home"),
            variable("privacy.secret"): "0123456789abcdef0123456789abcdef",
            variable("journal.tick_seconds"): "0.5",
        }

    def start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command that goes on; its log is named after the role."""
        with (self.directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "agents.cli.main", *arguments],
                cwd=ROOT,
                env=self.environment(name),
                stdout=log,
                stderr=log,
            )

    def run(self, name: str, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; return what it printed, its errors where it is to fail."""
        done = subprocess.run(
            [sys.executable, "-m", "agents.cli.main", *arguments],
            cwd=ROOT,
            env=self.environment(name),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, f"{name} {arguments}: {done.stdout}{done.stderr}"
        return done.stderr if code else done.stdout

    def logs(self) -> str:
        """Return the end of each log."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in self.directory.glob("*.log"))


def interactions(file: Path) -> Path:
    """Write what one customer did: enough for an action, a suppression and a state."""
    now = headers.rfc3339(int(time.time() * 1000))
    common = {"key": "household:1", "occurred_at": now, "source": "shop"}
    events: list[dict[str, Any]] = [
        {"type": "consent.given", "event_id": "c1", "channel": "E_COMMERCE", "attributes": {"purpose": "marketing"}},
        {"type": "purchase.made", "event_id": "p1", "channel": "OUTLET", "amount_minor": 12_500, "currency": "EUR"},
        {"type": "bill.disputed", "event_id": "d1", "channel": "BACK_OFFICE", "reference": "bill-7"},
    ]
    file.write_text("".join(json.dumps({**common, **event}) + "\n" for event in events))
    return file


@contextlib.contextmanager
def running(desk: Desk, *commands: tuple[str, ...]) -> Iterator[None]:
    """Run commands, given as role and arguments, while the block runs; each must go on and end in order."""
    started = [(command[0], desk.start(*command)) for command in commands]
    try:
        yield
        assert all(found.poll() is None for _, found in started), desk.logs()
    finally:
        for _, found in started:
            found.send_signal(signal.SIGTERM)
        codes = {name: found.wait(60) for name, found in started}
    assert set(codes.values()) == {0}, (codes, desk.logs())


def eventually(look: Any, what: str, desk: Desk, *, seconds: float = 180.0) -> Any:
    """Return what a look finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}\n{desk.logs()}")


def poison(connection: KafkaSettings) -> None:
    """Publish what no schema fits."""

    async def send() -> None:
        async with AIOKafkaProducer(**plain_options(connection)) as producer:
            await producer.send_and_wait(topics.INTERACTIONS, b"{}", key=b"household:2")

    asyncio.run(send())


def plain_options(connection: KafkaSettings) -> dict[str, Any]:
    """Return what a client of any channel gives its library."""
    return {
        "bootstrap_servers": connection.bootstrap,
        "security_protocol": connection.security_protocol,
        "sasl_mechanism": connection.sasl_mechanism,
        "sasl_plain_username": connection.sasl_username,
        "sasl_plain_password": PASSWORD,
        "ssl_context": kafka.ssl_context(connection),
    }


def states_read(connection: KafkaSettings) -> int:
    """Return how many customers' states a group of the analysts' reads."""

    async def read() -> int:
        member = kafka.consumer(connection, topics.CUSTOMER_STATE, group="analysts-bi", auto_offset_reset="earliest")
        await member.start()
        try:
            return sum(map(len, (await member.getmany(timeout_ms=5_000)).values()))
        finally:
            await member.stop()

    return asyncio.run(read())


def metrics(port: int, wanted: str) -> dict[str, float]:
    """Return the unlabelled samples of a page, none while the wanted one is absent or zero."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return {}
    found = {name: float(value) for name, value in (line.split() for line in lines if re.match(r"attune_\w+ ", line))}
    return found if found.get(wanted) else {}
