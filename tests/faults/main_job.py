"""The whole main job under fault: router, fold and coordinator as processes, interactions of every kind, the oracle.

The judge is `attune prove`, another process with plain consumers, and beside it a count of what was published:
every good interaction must have been folded once, every bad one must be a dead letter.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError
from pydantic import SecretStr

from agents import documents
from agents.clients import kafka
from agents.inbound.publisher import headers_of
from agents.ops import topics as topic_admin
from agents.ops.members import answered
from agents.platform import process
from agents.platform.apicurio import ApicurioServer
from agents.platform.local import LocalPlatform
from agents.platform.valkey import ValkeyServer
from agents.settings import KafkaSettings, PrivacySettings, RedisSettings, Settings, variable
from agents.topology import FOLD_GROUP, ROUTER_GROUP
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED, Codec
from schemas.registry import RemoteRegistry, publish_all
from tests.faults.brokers import Brokers
from tests.faults.registry import Registry
from tests.streams.journal import interaction

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef0123456789abcdef"
ROLES = ("router", "fold", "coordinator")
CUSTOMERS = 300
TICK_SECONDS = 0.2
DAY_MS = 86_400_000

PERSONAL = (b"household:", b"@example.invalid", b"Mustermann")
"""What identifies a customer in what is published: in keys, identifiers and personal fields."""

Message = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value, headers."""


@dataclasses.dataclass
class Published:
    """What went out so far; `good` counts no repetition."""

    good: int = 0
    bad: int = 0
    repeated: int = 0
    exact: bool = True
    """False once a producer died over what it was sending: the topic alone knows what of that arrived."""


@dataclasses.dataclass
class MainJob:
    """A platform with all topics, its workers, and what was published into it."""

    settings: Settings
    directory: Path
    rng: random.Random
    platform: LocalPlatform | None = None
    brokers: Brokers | None = None
    workers: dict[str, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)
    published: Published = dataclasses.field(default_factory=Published)
    replication: int = 1
    registry: Registry | None = None
    codec: Codec = EMBEDDED
    """Writes what is published, with the ids of the registry if there is one."""
    hot: float = 0.0
    """The share of what is published that is of one customer, beside the others'."""
    _log_number: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which commands of this job run."""
        return {
            **os.environ,
            **_variables(self.settings.kafka),
            variable("redis.url"): self.settings.redis.url or "",
            variable("home"): str(self.settings.home),
            variable("privacy.secret"): SECRET,
            variable("journal.tick_seconds"): str(TICK_SECONDS),
            variable("worker.max_batch_records"): "200",
            **({variable("registry.url"): self.registry.url} if self.registry else {}),
        }

    def start(self, role: str, name: str | None = None, *flags: str, **altered: int) -> subprocess.Popen[bytes]:
        """Start a worker; `altered` says what is wrong with it (tests.faults.altered_worker) and by how much."""
        self._log_number += 1
        command = ["agents.cli.main", "worker", role, *flags]
        if altered:
            ((what, value),) = altered.items()
            command = ["tests.faults.altered_worker", what.replace("_", "-"), str(value), role]
        with (self.directory / f"{self._log_number:04}-{name or role}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.workers[name or role] = worker
        return worker

    def start_all(self) -> None:
        """Start one worker of each role."""
        for role in ROLES:
            self.start(role)

    def kill(self, name: str) -> None:
        """Kill a worker with SIGKILL, wherever it is."""
        worker = self.workers.pop(name)
        worker.kill()
        worker.wait()

    async def at_work(self) -> None:
        """Wait until router and fold have committed something: then they have started, whatever the machine's load."""
        admin = kafka.admin(self.settings.kafka)
        await admin.start()
        try:
            async with asyncio.timeout(120):
                for group in (ROUTER_GROUP, FOLD_GROUP):
                    while not await _commits(admin, group):
                        await asyncio.sleep(0.2)
        finally:
            await admin.close()

    def restart_what_died(self) -> None:
        """Start again what has ended, as `attune worker` does for its roles."""
        for role in ROLES:
            if role not in self.workers or self.workers[role].poll() is not None:
                self.start(role)

    async def make_anew(self, *names: str) -> None:
        """Delete topics and create them again as the catalogue says."""
        admin = kafka.admin(self.settings.kafka)
        await admin.start()
        try:
            await admin.delete_topics(list(names))
            await asyncio.sleep(1)
            await topic_admin.apply(admin, CATALOGUE, replication=self.replication)
        finally:
            await admin.close()

    def restart_broker(self, *, kill: bool) -> None:
        """Stop the broker, by SIGKILL if `kill`, and start it again."""
        assert self.platform is not None
        self.platform.stop_broker(kill=kill)
        self.platform.start_broker()

    async def leave(self, name: str) -> int:
        """Ask a worker to end; return its exit code."""
        worker = self.workers.pop(name)
        worker.terminate()
        return await asyncio.to_thread(worker.wait, 60)

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers.values():
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        for worker in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(20)
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.workers.clear()

    @contextlib.asynccontextmanager
    async def publishing(self, *, pace: float) -> AsyncIterator[None]:
        """Publish while the block runs, at most `pace` messages a second: good ones, repetitions, poison.

        A coordinator must have been started: before it has told the time nothing is too far ahead of it.
        """
        await self._time_is_told()
        stop = asyncio.Event()
        feeding = asyncio.create_task(self._publish(stop, pace))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait({feeding}, timeout=60)
            if not feeding.done():  # a producer whose broker does not come back cannot be stopped either
                feeding.cancel()
                raise AssertionError(f"what was published is not acknowledged after 60 s\n{self.logs()}")
            feeding.result()

    async def _time_is_told(self) -> None:
        """Wait until every partition of the journal has a tick."""
        reader = kafka.consumer(self.settings.kafka)
        await reader.start()
        partitions = [TopicPartition(topics.JOURNAL, n) for n in range(CATALOGUE.topics[topics.JOURNAL].partitions)]
        try:
            async with asyncio.timeout(90):
                while not all((await reader.end_offsets(partitions)).values()):
                    await asyncio.sleep(0.2)
        finally:
            await reader.stop()

    async def _publish(self, stop: asyncio.Event, pace: float) -> None:
        while not stop.is_set():
            producer = kafka.producer(self.settings.kafka, linger_ms=5)
            await producer.start()
            try:
                await self._publish_with(producer, stop, pace)
            except KafkaError as error:
                # aiokafka's sender dies of a KeyError where a connection is closed twice, as while a broker restarts.
                if "Unexpected error during batch delivery" not in str(error):
                    raise
                self.published.exact = False
            finally:
                await producer.stop()

    async def _publish_with(self, producer: AIOKafkaProducer, stop: asyncio.Event, pace: float) -> None:
        begun, count = time.monotonic(), 0
        sent: list[Message] = []
        acknowledged: list[asyncio.Future[Any]] = []
        while not stop.is_set():
            acknowledged.append(await self._send(producer, sent))
            count += 1
            if count % 50 == 0:
                await asyncio.sleep(max(0.0, begun + count / pace - time.monotonic()))
        await producer.flush()
        await asyncio.gather(*acknowledged)

    async def _send(self, producer: AIOKafkaProducer, sent: list[Message]) -> asyncio.Future[Any]:
        chance, published = self.rng.random(), self.published
        if chance < 0.03 and sent:  # a producer that repeats itself: the same event once more
            key, value, headers = self.rng.choice(sent[-20:])
            published.repeated += 1
        elif chance < 0.05:
            key, value, headers = _poison(self.rng, self.codec)
            published.bad += 1
        else:
            customer = 0 if self.hot and self.rng.random() < self.hot else self.rng.randrange(CUSTOMERS)
            key, value, headers = _good(self.rng, self.codec, published.good, customer)
            published.good += 1
            sent.append((key, value, headers))
            del sent[:-20]
        while True:
            try:
                sending: asyncio.Future[Any] = await producer.send(topics.INTERACTIONS, value, key=key, headers=headers)
            except KafkaTimeoutError:  # batches are full and their broker is away: nothing was taken over
                continue
            return sending

    async def attune(self, *arguments: str, release: str = "agents.cli.main", seconds: float = 300) -> dict[str, Any]:
        """Run a command of a release and return what it says as JSON."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", release, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.stdout, f"{arguments[0]} said nothing: {done.stderr}\n{self.logs()}"
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    async def prove(self, *, wait: float = 90.0, release: str = "agents.cli.main") -> dict[str, Any]:
        """Let the workers finish and return the report of the oracle of a release; it must hold."""
        report = await self.attune("prove", "--wait", str(wait), "--json", release=release, seconds=wait + 300)
        assert report["held"], f"{json.dumps(report, indent=1)}\n{self.logs()}"
        published = self.published
        # Control records keep coming while the oracle reads, which takes longer the longer the journal is.
        coming = 50 + report["seconds"] / TICK_SECONDS
        assert report["unfolded"] < coming * len(report["fences"]), f"not folded to the end: {report}\n{self.logs()}"
        if published.exact:
            assert report["interactions"] == published.good + published.bad + published.repeated
            assert report["routed"] + report["dead"] - report["both"] == report["interactions"], report
            # What the fold refuses leaves no mark, so a copy of it by a router that died is refused once more.
            again = report["dead"] + report["refused"] - published.bad
            assert 0 <= again <= report["copies"], report
        return report

    def log(self, name: str) -> str:
        """Return all that the newest worker of a name has said."""
        return max(self.directory.glob(f"[0-9]*-{name}.log")).read_text(errors="replace")

    def logs(self) -> str:
        """Return the end of every worker's log."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.directory.glob("*.log"))
        )


async def _commits(admin: Any, group: str) -> bool:
    return bool(await answered(lambda: admin.list_consumer_group_offsets(group)))


def _good(rng: random.Random, codec: Codec, number: int, customer: int) -> Message:
    """Return an interaction of a customer that folds."""
    kind, fields = rng.choices(_KINDS, [weight for _, _, weight in _KINDS])[0][:2]
    event = interaction(
        kind,
        event_id=f"event-{number}",
        source="shop",
        channel="OUTLET",
        occurred_at=int(time.time() * 1000) - rng.randrange(3 * DAY_MS),
        **{name: make(rng, customer) for name, make in fields.items()},
    )
    if rng.random() < 0.05:
        event["personal"] = {
            "identifiers": {"email": f"{customer}@example.invalid"},
            "fields": {"name": f"Erika Mustermann-{customer}"},
        }
    headers = headers_of(event)
    return f"household:{customer}".encode(), codec.encode("Interaction", event), headers


_KINDS: list[tuple[str, Mapping[str, Any], int]] = [
    (
        "purchase.made",
        {"amount_minor": lambda rng, _: rng.randrange(100, 20_000), "currency": lambda *_: "EUR"},
        60,
    ),
    ("consent.given", {"attributes": lambda *_: {"purpose": "marketing"}}, 15),
    ("consent.withdrawn", {"attributes": lambda *_: {"purpose": "marketing"}}, 2),
    ("bill.disputed", {"reference": lambda rng, customer: f"bill-{customer}-{rng.randrange(3)}"}, 5),
    ("dispute.resolved", {"reference": lambda rng, customer: f"bill-{customer}-{rng.randrange(3)}"}, 6),
    ("complaint.made", {}, 4),
    ("offer.accepted", {}, 4),
    ("call.made", {}, 4),
    ("visit.made", {}, 4),
    ("message.sent", {"reference": lambda *_: "campaign-of-another-tool"}, 2),
    ("profile.changed", {"attributes": lambda rng, _: {"zone": rng.choice(["Europe/Berlin", "Asia/Tokyo", ""])}}, 3),
]


def _poison(rng: random.Random, codec: Codec) -> Message:
    """Return a message that must become a dead letter: of the router or, for the last two, of the fold."""
    key, value, headers = _good(rng, codec, rng.randrange(10**9), rng.randrange(CUSTOMERS))
    assert value is not None
    absurd = interaction("purchase.made", event_id="x", occurred_at=int(time.time() * 1000) + 400 * DAY_MS)
    absurd |= {"amount_minor": 1, "currency": "EUR"}
    bad: list[Message] = [
        (key, b"\x00\x00\x0f\x42\x40" + value[5:], headers),  # a schema id that nobody knows
        (key, b"{}", headers),
        (key, None, headers),
        (None, value, headers),
        (key, codec.encode("Interaction", absurd), headers),
        (key, value[: len(value) // 2], [header for header in headers if header[0] != "attune-personal"]),
    ]
    return rng.choice(bad)


def _variables(connection: KafkaSettings) -> dict[str, str]:
    """Return the environment variables of settings of Kafka."""
    found: dict[str, str] = {}
    for name in KafkaSettings.model_fields:
        value = getattr(connection, name)
        if value is not None:
            found[variable(f"kafka.{name}")] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return found


@contextlib.asynccontextmanager
async def main_job(directory: Path, seed: int) -> AsyncIterator[MainJob]:
    """Yield a main job on a platform of its own, with policy and model published, no worker running yet."""
    platform = LocalPlatform(directory / "platform")
    platform.start()
    try:
        connection = KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1)
        async with job_on(connection, platform.redis_url, directory, seed) as job:
            job.platform = platform
            yield job
    finally:
        platform.stop()


@contextlib.asynccontextmanager
async def main_job_with_registry(directory: Path, seed: int) -> AsyncIterator[MainJob]:
    """Yield a main job whose interactions are written with the ids of a schema registry of its own."""
    registry = Registry(ApicurioServer(directory / "registry"))
    registry.start()
    try:
        async with main_job(directory, seed) as job, RemoteRegistry(registry.url) as client:
            job.registry, job.codec = registry, await publish_all(client, CATALOGUE.subjects())
            yield job
    finally:
        registry.kill()


@contextlib.asynccontextmanager
async def main_job_on_three(directory: Path, seed: int) -> AsyncIterator[MainJob]:
    """Yield a main job on three brokers, its topics replicated three times, two of them in sync for every append."""
    port = process.free_port()
    valkey = ValkeyServer(directory / "valkey").start(port, attached=True)
    brokers = Brokers(directory / "brokers")
    try:
        brokers.start()
        connection = KafkaSettings(bootstrap=brokers.bootstrap)
        async with job_on(connection, f"redis://127.0.0.1:{port}/0", directory, seed, replication=3) as job:
            job.brokers = brokers
            yield job
    finally:
        brokers.stop()
        brokers.links.close()
        process.stop(valkey, kill=True)


@contextlib.asynccontextmanager
async def job_on(
    connection: KafkaSettings, redis_url: str, directory: Path, seed: int, *, replication: int = 1
) -> AsyncIterator[MainJob]:
    """Yield a main job on a cluster that has no topics of Attune yet."""
    settings = Settings(
        home=directory / "home",
        kafka=connection,
        redis=RedisSettings(url=redis_url),
        privacy=PrivacySettings(secret=SecretStr(SECRET)),
    )
    admin = kafka.admin(settings.kafka)
    await admin.start()
    await topic_admin.apply(admin, CATALOGUE, replication=replication)
    await admin.close()
    for kind, path in (
        ("model", "schemas/models/retail-activity-1.json"),
        ("policy", "schemas/packs/retail.yaml"),
    ):
        await documents.publish(settings, kind, (ROOT / path).read_bytes(), approved_by="test")
    job = MainJob(settings, directory, random.Random(seed), replication=replication)
    try:
        yield job
    finally:
        job.stop()
