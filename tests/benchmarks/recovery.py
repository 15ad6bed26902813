"""How long an owner takes to come by its states, and what they take, on a real broker.

`python -m tests.benchmarks.recovery [--states 1000000] [--bytes 600]` writes a changelog with one record for each state
and restores it in a process of its own. Asked: a million states of 600 bytes in 10 s and 1.5 GB.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from agents.clients import kafka
from agents.engine import changelog
from agents.engine.app import tune_garbage_collector
from agents.engine.job import Job
from agents.engine.kafka import KafkaLog
from agents.engine.records import Entry
from agents.engine.restore import restore
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings
from tests.agents.engine.counting import CHANGELOG, SOURCE, dead_letter
from tests.benchmarks.cluster import CHANGELOG_CONFIG, Cluster
from tests.benchmarks.stopwatch import ROOT

ASKED_STATES = 1_000_000
ASKED_SECONDS = 10.0
ASKED_BYTES = 1_500_000_000
_BATCH = 1_000
_POSITION = 9


class Plain:
    """States that are their bytes."""

    def encode(self, value: bytes, /) -> bytes:
        return value

    def decode(self, encoded: bytes, /) -> bytes:
        return encoded


def _job() -> Job:
    return Job(
        name="recovery",
        source=SOURCE,
        step=lambda _table, _record: [],
        outputs=(),
        dead_letter=dead_letter,
        codec=Plain(),
        changelog=CHANGELOG,
    )


def _log(bootstrap: str) -> KafkaLog:
    settings = KafkaSettings(bootstrap=bootstrap, replication_factor=1)
    return KafkaLog(producer=lambda: kafka.producer(settings), consumer=lambda: kafka.consumer(settings))


async def fill(bootstrap: str, states: int, size: int) -> None:
    """Write a source of ten records, and a changelog of so many states as of the last of them."""
    async with Cluster(bootstrap, "") as cluster:
        await cluster.create({SOURCE: 1})
        await cluster.create({CHANGELOG: 1}, CHANGELOG_CONFIG)
    log = _log(bootstrap)
    await log.append(SOURCE, 0, [Entry(b"k", b"v", [])] * (_POSITION + 1))
    owner = changelog.successor(changelog.NOBODY)
    for first in range(0, states, _BATCH):
        numbers = range(first, min(first + _BATCH, states))
        changes = [(b"%032x" % number, os.urandom(16).ljust(size, b".")) for number in numbers]
        await log.append(CHANGELOG, 0, changelog.batch(changes, _POSITION, 1, owner))
    await log.stop()


async def restored(bootstrap: str) -> dict[str, float]:
    """Restore and return seconds, CPU seconds, states and by how much this process has grown.

    The garbage collector is set as a worker sets it.
    """
    tune_garbage_collector()
    process, log = psutil.Process(), _log(bootstrap)
    before, started, cpu = process.memory_info().rss, time.monotonic(), time.process_time()
    owned = await restore(_job(), log, 0, committed=_POSITION + 1, counts={SOURCE: 1})
    found = {
        "seconds": time.monotonic() - started,
        "cpu": time.process_time() - cpu,
        "states": len(owned.table),
        "counted": owned.table.bytes,
        "grown": process.memory_info().rss - before,
    }
    await log.stop()
    return found


def main() -> int:
    """Fill a changelog, restore it in another process, print what that took."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recovery", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=600, help="of each state")
    parser.add_argument("--restore", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.restore is not None:
        print(json.dumps(asyncio.run(restored(given.restore))))
        return 0
    with tempfile.TemporaryDirectory() as home:
        platform = LocalPlatform(Path(home))
        platform.start()
        try:
            asyncio.run(fill(platform.bootstrap, given.states, given.bytes))
            command = [sys.executable, "-m", "tests.benchmarks.recovery", "--restore", platform.bootstrap]
            found = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        finally:
            platform.stop()
    assert found["states"] == given.states, found
    print(
        f"{given.states:,} states of {given.bytes} bytes restored in {found['seconds']:.1f} s "
        f"({found['cpu']:.1f} of a CPU); the process grew by {found['grown'] / 1e6:,.0f} MB, "
        f"{found['counted'] / 1e6:,.0f} counted"
    )
    if given.states >= ASKED_STATES:
        met = found["seconds"] <= ASKED_SECONDS and found["grown"] <= ASKED_BYTES
        print(f"asked: {ASKED_SECONDS:.0f} s and {ASKED_BYTES / 1e6:,.0f} MB: {'met' if met else 'MISSED'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
