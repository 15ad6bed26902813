"""From an interaction to what it led to.  `python -m tests.benchmarks.latency` prints asked and reached.

Interactions at 200 and at 1,000 a second through router and fold, each a process of its own with the settings that it
is shipped with, the retail pack and the model active, a coordinator beside them, on an embedded Kafka.  The clock is
the broker's (LogAppendTime, whole milliseconds): from the append of an interaction to the append of an action or a
suppression that it led to, as `attune demo` and the exporter have it.  The parts of that, and what comes before and
after, have rows of their own: from the call of the producer's `send` (our clock; it lingers 2 ms) to the append, to
the append of the journal's copy (the router), from there to the output (the fold), and from the output to the changelog
batch that makes the state durable.

All of it shares the machine with whatever else runs there: how late a timer fires in a process that has nothing to do,
what was left over of the cores, and who used the rest, are said beside.  At the end `attune prove` judges everything
with a sequential fold.  Exit code 1 says that a result was wrong; a figure that is missed is printed as missed.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.clients import kafka
from agents.engine import changelog
from agents.inbound.publisher import headers_of
from agents.settings import variable
from agents.topology import FOLD_GROUP, ROUTER_GROUP
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.vocabulary import JournalKind
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.scaling import positive
from tests.benchmarks.stopwatch import RunFailed
from tests.benchmarks.views import cpu_seconds, row
from tests.benchmarks.views_machine import Machine, watched
from tests.faults.main_job import MainJob, main_job
from tests.streams.journal import interaction

RATES = (200, 1_000)
ASKED_RATE = 1_000
ASKED_MS = {"p50": 10.0, "p99": 60.0}
CUSTOMERS = 2_000
"""As many as the demo has."""
AGREED = 0.7
"""Share of customers who agreed to marketing."""
LARGE = 0.1
"""Share of baskets that ask for a decision by their amount."""
LINGER_MS = 2
WARM_SECONDS = 5.0
SENT = "benchmark-sent"
"""Header with the time at which an interaction was given to the producer, milliseconds since 1970."""
_PATIENCE_SECONDS = 120.0
_LOGS = (
    topics.INTERACTIONS,
    topics.JOURNAL,
    topics.NEXT_BEST_ACTIONS,
    topics.SUPPRESSIONS,
    topics.FOLD_CHANGELOG,
)
_KINDS = {
    "purchase.made": 60,
    "page.browsed": 27,
    "message.sent": 5,
    "bill.disputed": 3,
    "dispute.resolved": 3,
    "offer.accepted": 1,
    "call.made": 1,
}
"""What happens how often."""

Place = tuple[int, int]
"""Partition and offset."""
Starts = Mapping[str, Mapping[int, int]]
"""Of each topic the offsets from which on its records count."""


class Stages(NamedTuple):
    """One output, in milliseconds since 1970: when what led to it was sent, appended and copied, and when it came.

    `durable` is None where the state's batch did not follow.
    """

    sent: float
    appended: int
    copied: int
    given: int
    durable: int | None


class Figures(NamedTuple):
    """What was found at one rate."""

    rate: int
    events: int
    outputs: Sequence[Stages]
    machine: Machine
    cores: Mapping[str, float]
    """Share of one core that each process used."""
    fold_batch: float
    """Records of the journal in a batch of the fold, on average."""


class Shipped(MainJob):
    """A main job whose workers have the settings of somebody who has set nothing but addresses."""

    @property
    def environment(self) -> dict[str, str]:
        found = super().environment
        for name in ("journal.tick_seconds", "worker.max_batch_records"):
            found.pop(variable(name), None)
        return found


async def feed(job: MainJob, rate: int, events: Iterator[tuple[str, dict[str, Any]]]) -> int:
    """Publish customers' events at a rate, each at its own time; return how many."""
    producer = kafka.producer(job.settings.kafka, linger_ms=LINGER_MS)
    await producer.start()
    try:
        begun, count = time.monotonic(), 0
        for count, (customer, event) in enumerate(events, 1):
            wait = begun + count / rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            event["occurred_at"] = int(time.time() * 1_000)
            headers = [*headers_of(event), (SENT, b"%.3f" % (time.time() * 1_000))]
            await producer.send(
                topics.INTERACTIONS, EMBEDDED.encode("Interaction", event), key=customer.encode(), headers=headers
            )
        await producer.flush()
    finally:
        await producer.stop()
    job.published.good += count
    return count


def history(customers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the consents of those who agreed and two baskets of everybody: what welcomes them is over then."""
    for number in range(int(customers * AGREED)):
        yield f"household:{number}", _event("consent.given", f"consent-{number}", attributes={"purpose": "marketing"})
    for number in range(2 * customers):
        basket = _event("purchase.made", f"early-{number}", amount_minor=2_000, currency="EUR")
        yield f"household:{number % customers}", basket


def _event(kind: str, id_: str, **fields: Any) -> dict[str, Any]:
    return interaction(kind, event_id=id_, channel="OUTLET", source="shop", **fields)


def doings(run: str, events: int, customers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what customers do; `run` makes the ids unique."""
    chance = random.Random(run)
    kinds, weights = list(_KINDS), list(_KINDS.values())
    for number in range(events):
        customer = chance.randrange(customers)
        (kind,) = chance.choices(kinds, weights)
        fields: dict[str, Any] = {}
        if kind == "purchase.made":
            amount = chance.randrange(10_000, 20_000) if chance.random() < LARGE else chance.randrange(100, 9_000)
            fields = {"amount_minor": amount, "currency": "EUR"}
        elif "dispute" in kind:
            fields = {"reference": f"bill-{customer}"}
        yield f"household:{customer}", _event(kind, f"{run}-{number}", **fields)


def still_at_work(job: MainJob) -> None:
    """Raise RunFailed with the ends of the workers' logs if one of them has ended."""
    ended = [f"{name} ended with {worker.returncode}" for name, worker in job.workers.items() if worker.poll()]
    if ended:
        raise RunFailed(f"{', '.join(ended)}\n{job.logs()}")


@contextlib.asynccontextmanager
async def patience(job: MainJob) -> AsyncIterator[None]:
    """Raise RunFailed with the ends of the workers' logs if what the block waits for does not come."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield
    except TimeoutError:
        raise RunFailed(f"the workers are not done after {_PATIENCE_SECONDS:.0f} s\n{job.logs()}") from None


async def activated(job: MainJob, cluster: Cluster) -> None:
    """Wait until policy and model are active in every partition of the journal."""
    wanted = 2 * CATALOGUE.topics[topics.JOURNAL].partitions
    async with patience(job):
        while True:
            kinds = [names.first(record.headers, names.KIND) async for record in cluster.read(topics.JOURNAL)]
            if kinds.count(JournalKind.ACTIVATION.value.encode()) >= wanted:
                return
            still_at_work(job)
            await asyncio.sleep(0.2)


async def caught_up(job: MainJob, cluster: Cluster) -> None:
    """Wait until everything that was published so far is routed and folded."""
    async with patience(job):
        for group, topic in ((ROUTER_GROUP, topics.INTERACTIONS), (FOLD_GROUP, topics.JOURNAL)):
            ends = await cluster.ends(topic)
            while True:
                committed = await cluster.committed(group, topic)
                if all(committed.get(partition, 0) >= end for partition, end in ends.items()):
                    break
                still_at_work(job)
                await asyncio.sleep(0.1)


async def stages(cluster: Cluster, starts: Starts) -> tuple[list[Stages], float]:
    """Return the stages of every output whose interaction lies behind `starts`, and the records in a fold's batch."""
    begun: dict[Place, tuple[float, int]] = {}
    async for record in cluster.read(topics.INTERACTIONS, starts[topics.INTERACTIONS]):
        sent = names.first(record.headers, SENT)
        assert sent is not None, "an interaction that is not ours"
        begun[record.partition, record.offset] = float(sent), record.timestamp
    copied: dict[Place, tuple[Place, int]] = {}
    records = 0
    async for record in cluster.read(topics.JOURNAL, starts[topics.JOURNAL]):
        records += 1
        origin = names.first(record.headers, names.ORIGIN)
        if origin is not None:
            _, partition, offset = names.Origin.parse(origin)
            copied[record.partition, record.offset] = (partition, offset), record.timestamp
    batches: dict[int, list[tuple[int, int]]] = defaultdict(list)
    async for record in cluster.read(topics.FOLD_CHANGELOG, starts[topics.FOLD_CHANGELOG]):
        if record.key == changelog.WATERMARK:
            batches[record.partition].append((changelog.fence_of(record), record.timestamp))
    found = []
    for topic in (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS):
        async for record in cluster.read(topic, starts[topic]):
            position = names.Position.parse(names.first(record.headers, names.POSITION) or b"")
            cause, copy_ms = copied.get((position.partition, position.offset), (None, 0))
            if cause in begun:
                durable = next((at for fence, at in batches[position.partition] if fence >= position.offset), None)
                found.append(Stages(*begun[cause], copy_ms, record.timestamp, durable))
    return found, records / max(1, sum(map(len, batches.values())))


async def at(job: MainJob, cluster: Cluster, rate: int, seconds: float, customers: int) -> Figures:
    """Measure at one rate, after a few seconds at that rate."""
    await feed(job, rate, doings(f"warm-{rate}", int(min(WARM_SECONDS, seconds) * rate), customers))
    await caught_up(job, cluster)
    starts = {topic: await cluster.ends(topic) for topic in _LOGS}
    processes = pids(job)
    async with watched() as machine:
        used, begun = {name: cpu_seconds(pid) for name, pid in processes.items()}, time.monotonic()
        events = await feed(job, rate, doings(f"timed-{rate}", int(seconds * rate), customers))
        spent = time.monotonic() - begun
        cores = {name: (cpu_seconds(pid) - used[name]) / spent for name, pid in processes.items()}
    await caught_up(job, cluster)
    found, batch = await stages(cluster, starts)
    return Figures(rate, events, found, machine, cores, batch)


def pids(job: MainJob) -> dict[str, int]:
    """Return the processes that share the machine, by what they are."""
    assert job.platform is not None
    broker = job.platform.status().kafka_pid
    assert broker is not None
    return {**{name: worker.pid for name, worker in job.workers.items()}, "broker": broker, "producer": os.getpid()}


@contextlib.asynccontextmanager
async def working(folder: Path, customers: int) -> AsyncIterator[tuple[MainJob, Cluster]]:
    """Yield a main job at work, the customers' history folded, and its cluster."""
    async with main_job(folder, seed=1) as made:
        job = Shipped(made.settings, made.directory, made.rng, made.platform)
        assert job.settings.kafka.bootstrap is not None
        async with Cluster(job.settings.kafka.bootstrap, job.settings.redis.url or "") as cluster:
            try:
                job.start_all()
                await activated(job, cluster)
                await feed(job, ASKED_RATE, history(customers))
                await caught_up(job, cluster)
                yield job, cluster
            finally:
                job.stop()


async def measure(
    folder: Path, rates: Sequence[int], seconds: float, customers: int = CUSTOMERS
) -> tuple[list[Figures], list[str]]:
    """Return the figures of each rate, and what `attune prove` found wrong."""
    async with working(folder, customers) as (job, cluster):
        found = [await at(job, cluster, rate, seconds, customers) for rate in rates]
        report = await job.attune("prove", "--wait", "60", "--json")
    wrong = [] if report["held"] else [f"`attune prove` does not hold: {report}"]
    if report["interactions"] != job.published.good:
        wrong.append(f"{report['interactions']} interactions in the topic, {job.published.good} were published")
    return found, wrong


def as_table(found: Sequence[Figures]) -> str:
    """Return a block of rows for each rate."""
    lines = []
    for one in found:
        lines.append(
            f"{one.rate:,} events a second, {one.events:,} of them; outputs {len(one.outputs):,}; "
            f"a batch of the fold has {one.fold_batch:.1f} records"
        )
        if len(one.outputs) < 2:
            lines.append(
                "  too few outputs to tell anything: MISSED" if one.rate == ASKED_RATE else "  too few outputs"
            )
            continue
        lines.append(f"{'figure':40} {'count':>7} {'p50':>8} {'p99':>8} {'max':>8}  asked")
        for shown in _rows(one):
            verdict = _verdict(shown) if shown["asked"] else ""
            lines.append(
                f"{shown['what']:40} {shown['count']:>7,} {shown['p50']:>8.1f} {shown['p99']:>8.1f} "
                f"{shown['max']:>8.1f}  {verdict}".rstrip()
            )
        shares = ", ".join(f"{name} {share:.2f}" for name, share in one.cores.items())
        lines.append(f"cores: {one.machine.idle:.0%} left over of {os.cpu_count()}; of one core each: {shares}\n")
    return "\n".join(lines)


def _rows(one: Figures) -> list[dict[str, Any]]:
    outputs = one.outputs
    asked = ASKED_MS["p99"] if one.rate == ASKED_RATE else None
    return [
        row("interaction to output, ms", [each.given - each.appended for each in outputs], asked),
        row("  router: append to journal", [each.copied - each.appended for each in outputs], None),
        row("  fold: journal to output", [each.given - each.copied for each in outputs], None),
        row("before: producer's send to append", [each.appended - each.sent for each in outputs], None),
        row(
            "after: output to durable state",
            [each.durable - each.given for each in outputs if each.durable is not None] or [0.0, 0.0],
            None,
        ),
        row("a timer in an idle process then", one.machine.late_ms, None),
    ]


def _verdict(shown: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {asked:g}: {'reached' if shown[name] <= asked else 'MISSED'}" for name, asked in ASKED_MS.items()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was asked and what was reached; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=positive, default=20, help="how long each rate is measured (default 20)")
    parser.add_argument("--rates", type=positive, nargs="+", default=RATES, help="events a second (default 200 1000)")
    given = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader at first: it tries again
    with tempfile.TemporaryDirectory(prefix="attune-latency-") as folder:
        try:
            found, wrong = asyncio.run(measure(Path(folder), given.rates, given.seconds))
        except RunFailed as failure:
            print(f"WRONG {failure}")
            return 1
    print(as_table(found))
    print(f"{os.cpu_count()} cores, shared; load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    for fault in wrong:
        print(f"WRONG {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
