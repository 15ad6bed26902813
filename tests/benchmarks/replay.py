"""`python -m tests.benchmarks.replay`: the live fold and `attune replay` over one journal, in turns, in one run.

Rates are records per CPU second of the processes that fold: of the live worker from its first record to its last
commit, of a replay's workers from the first record of each partition to its last, so that no start of a process counts.
The ratio is median to median; asked is 1.5 per core. Every replay is compared with a sequential fold of the journal.
Exit code 1 says that something gave wrong results; a ratio that is missed is printed as missed.
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.admin import NewTopic

from agents.platform.local import LocalPlatform
from agents.settings import variable
from schemas import headers as names
from schemas.codec import EMBEDDED
from tests.benchmarks.__main__ import take_turn
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.core_contest import CoreContest
from tests.benchmarks.shipped import SECRET
from tests.benchmarks.stopwatch import ROOT

ASKED = 1.5
LIVE = "live fold, to topics"
ONE = "replay to JSON lines, 1 process"


class Kind(NamedTuple):
    """One way to replay."""

    name: str
    suffix: str
    jobs: int
    """0 stands for as many as there are cores."""
    arguments: tuple[str, ...] = ()


KINDS = (
    Kind(ONE, "jsonl", 1),
    Kind("replay to JSON lines, all cores", "jsonl", 0),
    Kind("replay to an Avro container, 1 process", "avro", 1),
    Kind("replay to a topic, 1 process", "topic", 1),
    Kind("replay of suppressions alone, 1 process", "jsonl", 1, ("--what", "suppressions")),
    Kind("interactions alone, no fold, 1 process", "jsonl", 1, ("--what", "interactions")),
)


class Speed(NamedTuple):
    """Records per CPU second and per wall second."""

    per_cpu_second: float
    per_second: float


class Bench:
    """A broker with one journal, and what a sequential fold of it gives out."""

    def __init__(self, cluster: Cluster, home: Path, events: int) -> None:
        self.cluster = cluster
        self.home = home
        self.contest = CoreContest(cluster, events)
        self.wrong: list[str] = []

    async def live(self, turn: int) -> Speed:
        """Fold with the shipped worker."""
        contender = next(one for one in CONTENDERS if one.name == "thin-core")
        run = await take_turn(self.contest, contender, self.cluster, self.home, turn)
        self.wrong += run.verdict.wrong
        assert run.timing is not None
        return Speed(run.events / run.timing.cpu_seconds, run.events / run.timing.wall_seconds)

    async def replay(self, kind: Kind, turn: int) -> Speed:
        """Fold with `attune replay`."""
        target = self.home / f"{turn}-{KINDS.index(kind)}.{kind.suffix}"
        to = ("--to-file", str(target))
        if kind.suffix == "topic":
            answer = await self.cluster.admin.create_topics([NewTopic(target.name, 6, 1)])
            assert all(error[1] == 0 for error in answer.topic_errors), answer
            to = ("--to-topic", target.name)
        jobs = kind.jobs or os.cpu_count() or 1
        command = ["replay", *to, *kind.arguments, "--jobs", str(jobs), "--json"]
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "agents.cli.main", *command],
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        if kind.suffix == "jsonl" and not kind.arguments:
            self._judge(kind, target)
        elif not kind.arguments and said["given"] != len(self.contest._outputs):
            self.wrong.append(f"{kind.name}: {said['given']} given out, {len(self.contest._outputs)} expected")
        target.unlink(missing_ok=True)
        return Speed(said["read"] / max(said["cpu_seconds"], 1e-3), said["read"] / said["seconds"])

    def _judge(self, kind: Kind, file: Path) -> None:
        expected = {place: EMBEDDED.decode(output[2]) for place, output in self.contest._outputs.items()}
        found = {}
        with file.open("rb") as lines:
            for line in lines:
                item = json.loads(line)
                found[item["headers"][names.POSITION].encode()] = item["value"]
        if found != expected:
            self.wrong.append(f"{kind.name}: {len(found)} outputs are not the {len(expected)} of a sequential fold")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            variable("kafka.bootstrap"): self.cluster.bootstrap,
            variable("redis.url"): self.cluster.redis_url,
            variable("home"): str(self.home / "replay"),
            variable("privacy.secret"): SECRET,
        }


async def bench(started: LocalPlatform, home: Path, events: int, rounds: int) -> tuple[dict[str, list[Speed]], Bench]:
    """Let live fold and replays take turns."""
    found: dict[str, list[Speed]] = {LIVE: [], **{kind.name: [] for kind in KINDS}}
    async with Cluster(started.bootstrap, started.redis_url) as cluster:
        one = Bench(cluster, home, events)
        await one.contest.publish()
        for turn in range(rounds):
            found[LIVE].append(await one.live(turn))
            _say(LIVE, found[LIVE][-1])
            for kind in KINDS:
                found[kind.name].append(await one.replay(kind, turn))
                _say(kind.name, found[kind.name][-1])
    return found, one


def as_table(found: dict[str, list[Speed]]) -> str:
    """Return rates and ratios, medians with the best beside them."""
    live = statistics.median(speed.per_cpu_second for speed in found[LIVE])
    best = max(speed.per_cpu_second for speed in found[LIVE])
    lines = [f"{'':42}{'per CPU s':>10}{'ratio':>8}{'best/best':>11}{'per second':>12}"]
    for name, speeds in found.items():
        rates = [speed.per_cpu_second for speed in speeds]
        wall = statistics.median(speed.per_second for speed in speeds)
        rate = statistics.median(rates)
        lines.append(f"{name:42}{rate:>10,.0f}{rate / live:>8.2f}{max(rates) / best:>11.2f}{wall:>12,.0f}")
    ratio = statistics.median(speed.per_cpu_second for speed in found[ONE]) / live
    lines.append(f"asked: {ASKED:.1f} per core, {'met' if ratio >= ASKED else 'MISSED'} at {ratio:.2f}")
    return "\n".join(lines)


def _say(name: str, speed: Speed) -> None:
    print(f"{name}: {speed.per_cpu_second:,.0f} records per CPU second", file=sys.stderr, flush=True)


def arguments(given: Iterable[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=200_000, help="events in the journal (default 200,000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args(None if given is None else list(given))


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader at first: it tries again
    with tempfile.TemporaryDirectory(prefix="attune-bench-") as folder:
        home = Path(folder)
        started = LocalPlatform(home)
        started.start()
        try:
            found, one = asyncio.run(bench(started, home, options.events, options.rounds))
        finally:
            started.stop()
    result: dict[str, Any] = {name: [speed._asdict() for speed in speeds] for name, speeds in found.items()}
    print(json.dumps({"rows": result, "wrong": one.wrong}) if options.json else as_table(found))
    for fault in one.wrong:
        print(f"WRONG {fault}")
    return 1 if one.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
