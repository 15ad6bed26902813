"""The demo from start to end: platform, topics, workers, history, policy, decisions, proof.

The first part of the data is folded without a policy: the shipped model was fitted on what lies
before 2017-07-01, so decisions begin there.  Then policy and model are published and approved, and
become active in mid-stream.  The last events go out at a steady pace, to measure latency apart
from throughput.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from agents import documents, topology
from agents.clients import kafka
from agents.demo import latency
from agents.demo.processes import Processes
from agents.demo.progress import Progress
from agents.demo.tally import Tally, follow
from agents.errors import AttuneError
from agents.inbound import complete_journey, publisher
from agents.ops import topics as topic_admin
from agents.ops.lag import GroupLag
from agents.platform.local import LocalPlatform
from agents.settings import Settings
from schemas import topics
from schemas.catalogue import CATALOGUE

DECISIONS_FROM = date(2017, 7, 1)
"""The shipped model was fitted on what lies before."""
_BOUNDARY_MS = int(datetime.combine(DECISIONS_FROM, datetime.min.time(), UTC).timestamp() * 1000)
HISTORY_SHARE = 0.4
PACE = 1_000.0
PACED_EVENTS = 5_000
MODEL = Path("schemas/models/retail-activity-1.json")
POLICY = Path("schemas/packs/retail.yaml")
_ROOT = Path(__file__).parents[2]
_QUIET_SECONDS = 1.5
_LOOK_SECONDS = 0.25
_DISPATCH_HOURS = 24
"""Event time for which the connector holds an action: mail goes out once a day."""
_JOURNAL = (topics.JOURNAL, CATALOGUE.topics[topics.JOURNAL].partitions)
_INTERACTIONS = (topics.INTERACTIONS, CATALOGUE.topics[topics.INTERACTIONS].partitions)

Item = tuple[str, dict[str, Any]]


@dataclasses.dataclass(slots=True, kw_only=True)
class Options:
    """What the user chose."""

    events: int
    pace: float | None = None
    start: date | None = None
    prove: bool = True
    fault: bool = False
    """Plant a fault before the proof: a forged output, which the oracle must find."""


@dataclasses.dataclass(slots=True)
class Stage:
    """What the view shows while the demo runs."""

    title: str = "starting"
    tally: Tally = dataclasses.field(default_factory=Tally)
    published: int = 0
    events: int = 0
    began: float = dataclasses.field(default_factory=time.monotonic)
    groups: list[GroupLag] = dataclasses.field(default_factory=list)
    """How far router and fold are behind."""


async def run(found: Settings, options: Options, stage: Stage) -> dict[str, Any]:
    """Run the demo and return its summary.  Raises AttuneError with what to do."""
    choosing = asyncio.create_task(asyncio.to_thread(choose, options))
    await asyncio.sleep(0)  # reading the data goes on while the platform starts
    async with _platform(found) as (settings, secret):
        stage.title = "reading the data"
        items = await choosing
        stage.events = len(items)
        stage.title = "making topics"
        progress = Progress(kafka.consumer(settings.kafka), kafka.admin(settings.kafka))
        await progress.start()
        try:
            await _make_topics(settings, progress)
            processes = Processes(settings, secret, settings.home / "logs")
            try:
                return await _play(settings, options, stage, items, progress, processes)
            finally:
                processes.stop()
        finally:
            await progress.stop()


def choose(options: Options) -> list[Item]:
    """Return the interactions to play: by default, a part before the first decision and a larger one after it."""
    if options.start is not None:
        return list(complete_journey.interactions(options.start, options.events))
    times = [
        event["occurred_at"]
        for _, event in itertools.takewhile(
            lambda item: item[1]["occurred_at"] < _BOUNDARY_MS, complete_journey.interactions()
        )
    ]
    first = times[-min(len(times), max(1, int(options.events * HISTORY_SHARE)))]
    start = datetime.fromtimestamp(first / 1000, UTC).date()
    return list(complete_journey.interactions(start, options.events))


async def _play(
    settings: Settings,
    options: Options,
    stage: Stage,
    items: Sequence[Item],
    progress: Progress,
    processes: Processes,
) -> dict[str, Any]:
    home = settings.home
    status_file = home / "connector.json"
    for role in ("router", "fold", "coordinator"):
        processes.start(role, "worker", role)
    processes.start(
        "connector",
        "connector",
        *("--delay-hours", str(_DISPATCH_HOURS)),
        *("--idle-flush", str(_QUIET_SECONDS)),
        *("--status-file", str(status_file)),
    )
    watching = [
        asyncio.create_task(follow(stage.tally, kafka.consumer(settings.kafka), _JOURNAL[1])),
        asyncio.create_task(_watch_lag(stage, progress)),
    ]
    producer = kafka.producer(settings.kafka, linger_ms=5)
    await producer.start()
    try:
        history = [item for item in items if item[1]["occurred_at"] < _BOUNDARY_MS]
        rest = items[len(history) :]
        paced = rest[-min(PACED_EVENTS, len(items) // 4) :] if options.pace is None else rest[:0]
        flowing = rest[: len(rest) - len(paced)]

        async def publish(part: Sequence[Item], pace: float | None) -> None:
            already = stage.published

            def moved(count: int) -> None:
                stage.published = already + count

            await publisher.publish(
                producer,
                part,
                topic=_INTERACTIONS[0],
                partitions=_INTERACTIONS[1],
                pace=pace,
                on_progress=moved,
            )

        stage.title = "waiting for router and fold to join their groups"
        await _joined(stage, processes)
        stage.title = "folding history, no policy yet"
        begun = time.monotonic()
        await publish(history, options.pace)
        await _caught_up(progress, processes)
        spent = time.monotonic() - begun
        stage.title = "publishing and approving policy and model"
        await _activate(settings, progress, processes)
        stage.title = "deciding" if options.pace is None else f"deciding, {options.pace:.0f} events a second"
        begun = time.monotonic()
        await publish(flowing, options.pace)
        await _caught_up(progress, processes)
        spent += time.monotonic() - begun
        fast = len(history) + len(flowing)
        stage.title = f"measuring latency at {PACE:.0f} events a second"
        starts = {topic: await progress.ends(topic, CATALOGUE.topics[topic].partitions) for topic in latency.TOPICS}
        await publish(paced, PACE)
        stage.title = "letting the connector finish"
        await _caught_up(progress, processes, also=lambda: _held(status_file) == 0)
        latencies = await _latencies(settings, starts) if paced else []
    finally:
        await producer.stop()
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
    return await _finish(
        settings, options, stage, items, progress, processes, latencies, fast / max(spent, 1e-9), status_file
    )


async def _finish(
    settings: Settings,
    options: Options,
    stage: Stage,
    items: Sequence[Item],
    progress: Progress,
    processes: Processes,
    latencies: Sequence[int],
    rate: float,
    status_file: Path,
) -> dict[str, Any]:
    processes.stop()
    dead = 0
    for topic in (topics.INTERACTIONS_DEAD, topics.JOURNAL_DEAD):
        dead += sum((await progress.ends(topic, CATALOGUE.topics[topic].partitions)).values())
    if options.fault:
        await _plant_fault(settings)
    stage.title = "proving: a sequential fold of the journal in another process"
    oracle = await asyncio.to_thread(_prove, processes) if options.prove else None
    tally = stage.tally
    status = json.loads(status_file.read_text())
    return {
        "interactions": len(items),
        "customers": len({key for key, _ in items}),
        "actions": tally.actions,
        "no_action": tally.no_action,
        "suppressions": {"started": tally.started, "lifted": tally.lifted},
        "recalled": tally.recalled,
        "delivered": status["outbox"],
        "withheld": status["suppressed"] + status["expired"],
        "dead_letters": dead,
        "events_per_second": round(rate, 1),
        "latency_ms": {
            "p50": latency.percentile(latencies, 0.5),
            "p99": latency.percentile(latencies, 0.99),
            "outputs": len(latencies),
            "events_per_second": PACE if latencies else None,
        },
        "oracle": {"held": None} if oracle is None else oracle,
        "home": str(settings.home),
    }


def _prove(processes: Processes) -> dict[str, Any]:
    done = processes.run("oracle", "prove", "--json")
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise AttuneError(
            f"the oracle failed with code {done.returncode}", "see logs/oracle.log in the demo's home"
        ) from None
    return found


async def _make_topics(settings: Settings, progress: Progress) -> None:
    admin = kafka.admin(settings.kafka)
    await admin.start()
    try:
        await topic_admin.apply(admin, CATALOGUE, replication=settings.kafka.replication_factor)
    finally:
        await admin.close()
    if sum((await progress.ends(*_INTERACTIONS)).values()):
        raise AttuneError(
            f"{settings.kafka.bootstrap} already holds interactions; the demo would mix its own with them",
            "point ATTUNE_KAFKA__BOOTSTRAP at an empty cluster, or unset it for the embedded one",
        )


async def _activate(settings: Settings, progress: Progress, processes: Processes) -> None:
    """Publish model and policy and wait until both are active in every partition."""
    before = await progress.ends(*_JOURNAL)
    for kind, path in (("model", MODEL), ("policy", POLICY)):
        await documents.publish(settings, kind, (_ROOT / path).read_bytes(), approved_by="demo")
    while any(end < before[number] + 2 for number, end in (await progress.ends(*_JOURNAL)).items()):
        processes.check()
        await asyncio.sleep(0.1)
    await _caught_up(progress, processes)


async def _caught_up(progress: Progress, processes: Processes, also: Callable[[], bool] = lambda: True) -> None:
    await progress.wait_done(
        [(topology.ROUTER_GROUP, *_INTERACTIONS), (topology.FOLD_GROUP, *_JOURNAL)], check=processes.check, also=also
    )


async def _latencies(settings: Settings, starts: latency.Starts) -> list[int]:
    consumer = kafka.consumer(settings.kafka)
    await consumer.start()
    try:
        return await latency.measure(consumer, starts)
    finally:
        await consumer.stop()


async def _watch_lag(stage: Stage, progress: Progress) -> None:
    while True:
        with contextlib.suppress(KafkaError):  # the view shows the last figures until the broker answers again
            stage.groups = await progress.lag((topology.ROUTER_GROUP, topology.FOLD_GROUP))
        await asyncio.sleep(_LOOK_SECONDS)


async def _joined(stage: Stage, processes: Processes) -> None:
    """Wait until router and fold own their partitions, so that their start is not taken for work."""
    while not stage.groups or any(group.state != "Stable" or not group.members for group in stage.groups):
        processes.check()
        await asyncio.sleep(_LOOK_SECONDS)


def _held(status_file: Path) -> int:
    """Return how many actions wait at the connector; -1 while it has told nothing."""
    with contextlib.suppress(OSError, ValueError):
        return int(json.loads(status_file.read_text())["held"])
    return -1


async def _plant_fault(settings: Settings) -> None:
    """Append a copy of an output with other content: what a second, different run would have left."""
    from aiokafka import TopicPartition  # noqa: PLC0415 - only a planted fault needs it

    consumer, producer = kafka.consumer(settings.kafka), kafka.producer(settings.kafka)
    await consumer.start()
    await producer.start()
    try:
        for number in range(_JOURNAL[1]):
            tp = TopicPartition(topics.NEXT_BEST_ACTIONS, number)
            end = (await consumer.end_offsets([tp]))[tp]
            if end:
                consumer.assign([tp])
                consumer.seek(tp, end - 1)
                record = await consumer.getone(tp)
                value = bytes([*record.value[:-1], record.value[-1] ^ 1])
                await producer.send_and_wait(
                    tp.topic, value, key=record.key, partition=number, headers=list(record.headers)
                )
                return
        raise AttuneError("there is no output to forge", "play more events")
    finally:
        await consumer.stop()
        await producer.stop()


@contextlib.asynccontextmanager
async def _platform(found: Settings) -> AsyncIterator[tuple[Settings, bytes]]:
    """Yield settings and the identity secret, with a platform: the user's, or a fresh embedded one."""
    home = found.home / "demo"
    if found.kafka.bootstrap is not None:
        if found.redis.url is None:
            raise AttuneError("kafka.bootstrap is set but redis.url is not", "set ATTUNE_REDIS__URL too")
        secret = found.identity_secret()
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        yield found.model_copy(update={"home": home.resolve()}), secret
        return
    LocalPlatform(home).stop()
    shutil.rmtree(home, ignore_errors=True)
    platform = LocalPlatform(home)
    status = platform.start()
    try:
        secret = found.model_copy(update={"home": home}).identity_secret()
        kafka_settings = found.kafka.model_copy(update={"bootstrap": status.bootstrap, "replication_factor": 1})
        redis_settings = found.redis.model_copy(update={"url": status.redis_url})
        yield (
            found.model_copy(update={"home": home.resolve(), "kafka": kafka_settings, "redis": redis_settings}),
            secret,
        )
    finally:
        platform.stop()
