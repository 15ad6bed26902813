"""How late the views are, and how quickly they answer.  `python -m tests.benchmarks.views` prints asked and reached.

View lag: interactions at 1,000 a second through router, fold and view agent, each a process of its own, on an embedded
Kafka and Valkey; Redis itself tells when the state of one of a tenth of the customers has changed.  Two figures: from
the append of the changelog record (the view's own part) and from the append of the interaction (all of it).
HTTP: `attune api` as a process, 500 requests a second in an open loop, beside workers that have nothing to do, and then
without them: what is left is the service, Redis and the reader.

All of that shares the machine with whatever else runs there.  So two rows say what the machine itself added at the same
time: how late a timer fires in a process that has nothing to do, and how much of the cores was left over.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from agents.clients import kafka, valkey
from agents.clients.viewstore import ViewStore, parse_mark
from agents.engine import changelog
from agents.inbound.publisher import headers_of
from schemas import headers as names
from schemas import identity, topics
from schemas.codec import EMBEDDED
from tests.benchmarks.views_machine import watched
from tests.benchmarks.views_observer import Observer
from tests.benchmarks.views_reader import open_loop
from tests.faults.harness import read_all
from tests.faults.main_job import SECRET, MainJob, main_job
from tests.streams.journal import interaction

CUSTOMERS = 5_000
WATCHED = 500
RATE = 1_000
HTTP_RATE = 500
ASKED_LAG_MS = 100.0
ASKED_HTTP_MS = 5.0
WARM_SECONDS = 5.0


def key(number: int) -> str:
    """Return the identifier of a customer."""
    return f"household:{number}"


def surrogate(number: int) -> str:
    """Return the surrogate of a customer."""
    return identity.surrogate(SECRET.encode(), key(number))


async def feed(job: MainJob, seconds: float) -> None:
    """Publish purchases, visits and calls at the rate."""
    producer = kafka.producer(job.settings.kafka, linger_ms=2)
    await producer.start()
    kinds = ("purchase.made", "page.browsed", "page.browsed", "call.made", "offer.presented")
    try:
        begun = time.monotonic()
        for number in range(int(seconds * RATE)):
            wait = begun + number / RATE - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            kind = kinds[number % len(kinds)]
            bought = {"amount_minor": 1_000 + number % 20_000, "currency": "EUR"} if kind == "purchase.made" else {}
            now_ms = int(time.time() * 1_000)
            event = interaction(kind, event_id=f"e{now_ms}-{number}", occurred_at=now_ms, channel="OUTLET", **bought)
            value = EMBEDDED.encode("Interaction", event)
            customer = key(number * 7 % CUSTOMERS).encode()
            await producer.send(topics.INTERACTIONS, value, key=customer, headers=headers_of(event))
        await producer.flush()
    finally:
        await producer.stop()


async def lags(job: MainJob, observer: Observer) -> tuple[list[float], list[float]]:
    """Return lags in milliseconds, from the changelog's append and from the interaction's, of what was seen."""
    bootstrap = job.settings.kafka.bootstrap
    assert bootstrap is not None
    appended = {
        (record.partition, record.offset): record.timestamp for record in await read_all(bootstrap, topics.INTERACTIONS)
    }
    by_offset: dict[tuple[str, int], int] = {}
    for record in await read_all(bootstrap, topics.JOURNAL):
        origin = names.first(record.headers, names.ORIGIN)
        if record.key is not None and origin is not None:
            _, partition, offset = names.Origin.parse(origin)
            by_offset[record.key.decode(), record.offset] = appended[partition, offset]
    by_fence: dict[tuple[str, int], int] = {}
    for record in await read_all(bootstrap, topics.FOLD_CHANGELOG):
        if not record.key.startswith(b"\x00"):
            by_fence[record.key.decode(), changelog.fence_of(record)] = record.timestamp
    of_changelog, of_interaction = [], []
    for customer, sights in observer.seen.items():
        for sight in sights:
            of_changelog.append(sight.at_ms - by_fence[customer, sight.fence])
            of_interaction.append(sight.at_ms - by_offset[customer, sight.offset])
    return of_changelog, of_interaction


async def applied(job: MainJob) -> tuple[ViewStore, str]:
    """Wait until the view agent has all its partitions; return the store and the generation."""
    client = valkey.client(job.settings.redis.url)
    store = ViewStore(client)
    async with asyncio.timeout(60):
        while True:
            generation = await store.generation()
            if generation is not None:
                marks = [parse_mark(mark) for mark in (await store.marks(generation)).values()]
                if len(marks) == 18 and all(mark is not None and mark.shown_ms for mark in marks):
                    return store, generation
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def serving(job: MainJob) -> AsyncIterator[tuple[str, int, int]]:
    """Yield host, port and process id of `attune api`."""
    log = job.directory / "api.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "agents.cli.main", "api", "--port", "0"]
        process = subprocess.Popen(command, env=job.environment, stdout=out, stderr=out)  # noqa: ASYNC220 - once
    try:
        async with asyncio.timeout(30):
            while not (found := re.search(r"http://([\d.]+):(\d+)/v1", log.read_text())):
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.1)
        yield found[1], int(found[2]), process.pid
    finally:
        process.terminate()
        process.wait(20)


async def measure(folder: Path, seconds: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each figure, and what was used for it."""
    async with main_job(folder, seed=1) as job:
        for role in ("router", "fold", "coordinator", "views"):
            job.start(role)
        store, generation = await applied(job)
        await feed(job, WARM_SECONDS)
        async with valkey.client(job.settings.redis.url) as client:
            observer = Observer(client, generation, map(surrogate, range(WATCHED)))
            watching = asyncio.ensure_future(observer.run())
            await asyncio.sleep(0.5)
            async with watched() as busy:
                used = cpu_seconds(job.workers["views"].pid)
                await feed(job, seconds)
                used = cpu_seconds(job.workers["views"].pid) - used
            await observer.settled()
            watching.cancel()
            await asyncio.wait([watching])
        of_changelog, of_interaction = await lags(job, observer)
        gc.collect()
        gc.freeze()  # else collections of what was read here would be taken for the service's time
        async with serving(job) as (host, port, pid):
            paths = [f"/v1/customers/{key(number)}{part}" for number in range(500) for part in ("", "/actions")]
            await open_loop(host, port, paths, rate=HTTP_RATE, seconds=WARM_SECONDS)
            async with watched() as quiet:
                answering = cpu_seconds(pid)
                http = await open_loop(host, port, paths, rate=HTTP_RATE, seconds=seconds)
                answering = cpu_seconds(pid) - answering
            await asyncio.to_thread(job.stop)
            async with watched() as alone:
                http_alone = await open_loop(host, port, paths, rate=HTTP_RATE, seconds=seconds)
        await store._client.aclose()
    return [
        row("view lag from the changelog, ms", of_changelog, ASKED_LAG_MS),
        row("view lag from the interaction, ms", of_interaction, None),
        row("  a timer in an idle process then, ms", busy.late_ms, None),
        row("HTTP read at 500 a second, ms", http, ASKED_HTTP_MS),
        row("  a timer in an idle process then, ms", quiet.late_ms, None),
        row("HTTP read without the workers, ms", http_alone, ASKED_HTTP_MS),
        row("  a timer in an idle process then, ms", alone.late_ms, None),
    ], [
        f"view agent: {used / seconds:.2f} of a core at {RATE:,} events a second; {busy.idle:.0%} left over",
        f"HTTP service: {answering / seconds:.2f} of a core at {HTTP_RATE} a second; {quiet.idle:.0%} left over",
    ]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def row(what: str, values: Sequence[float], asked: float | None) -> dict[str, Any]:
    """Return one figure: its percentiles and what was asked of the 99th."""
    cuts = statistics.quantiles(values, n=100)
    return {"what": what, "count": len(values), "p50": cuts[49], "p99": cuts[98], "max": max(values), "asked": asked}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was asked and what was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.views", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each figure is measured")
    seconds = parser.parse_args(arguments).seconds
    with tempfile.TemporaryDirectory(prefix="attune-views-") as folder:
        rows, used = asyncio.run(measure(Path(folder), seconds))
    sys.stdout.write(f"{'figure':36} {'count':>8} {'p50':>8} {'p99':>8} {'max':>8}  asked of p99\n")
    for one in rows:
        asked = one["asked"]
        verdict = "" if asked is None else f"{asked:g}: {'reached' if one['p99'] < asked else 'MISSED'}"
        sys.stdout.write(
            f"{one['what']:36} {one['count']:>8,} {one['p50']:>8.1f} {one['p99']:>8.1f} {one['max']:>8.1f}  {verdict}\n"
        )
    sys.stdout.writelines(f"{line}\n" for line in used)
    sys.stdout.write(f"{os.cpu_count()} cores, shared; load average {' '.join(f'{x:.1f}' for x in os.getloadavg())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
