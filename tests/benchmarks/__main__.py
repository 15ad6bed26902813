"""`make bench`: every contender in one run on one broker, in events per CPU second of the worker process.

The broker is an embedded platform in a temporary folder that dies with this process.  Contenders of one
contest take turns, since a machine that is shared changes its speed; medians are compared.
Exit code 1 says that a contender gave wrong results or did not finish; a target that is missed is
printed as missed and changes no exit code.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiokafka
import faust

from agents.platform.local import LocalPlatform
from tests.benchmarks import report
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.contenders import CONTENDERS, EVENTS, Contender, contests
from tests.benchmarks.contest import Contest
from tests.benchmarks.report import Row, Run
from tests.benchmarks.stopwatch import RunFailed, time_run
from tests.benchmarks.verdict import Verdict

RESULTS = Path(__file__).parent / "results"
_SLOWEST = 1_000
"""Events a wall second under which a contender is given up, beside a minute to start."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog="More, each a command of its own: `python -m tests.benchmarks.core` (the pure core without Kafka), "
        "`python -m tests.benchmarks.codec` (Avro encoding and decoding) and `python -m tests.benchmarks.replay` "
        "(`attune replay` beside the live fold).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--events", type=int, default=EVENTS, help=f"events of engine and loop (default {EVENTS:,})")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender but faust (default 3)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON of the run")
    return parser.parse_args()


async def hold(contest: Contest, contenders: list[Contender], cluster: Cluster, home: Path, rounds: int) -> list[Row]:
    """Hold one contest: its input once, then its contenders in turns."""
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    await contest.publish()
    for number in range(rounds):
        for contender in contenders:
            if number == 0 or not contender.once:
                run = await take_turn(contest, contender, cluster, home, number)
                runs[contender.name].append(run)
                _say(f"{contender.name}: {_rate(run)}, {'right' if run.verdict.right else 'WRONG'}")
    return [Row(contender, runs[contender.name]) for contender in contenders]


async def take_turn(contest: Contest, contender: Contender, cluster: Cluster, home: Path, number: int) -> Run:
    """Run one contender once and judge it."""
    folder = home / f"{contender.name}-{number}"
    folder.mkdir()
    assignment = await contest.prepare(contender.name, folder, number)
    ends = await contest.ends(assignment)
    events = sum(ends.values())

    async def done() -> bool:
        return await cluster.committed(assignment.group, assignment.source) == ends

    try:
        timing = await time_run(contender.module, assignment, done, 60 + events / _SLOWEST)
    except RunFailed as failure:
        return Run(events, Verdict((str(failure),)))
    verdict = await contest.judge(assignment)
    await contest.clear(assignment)
    return Run(events, verdict, timing)


async def bench(options: argparse.Namespace, started: LocalPlatform, home: Path) -> list[Row]:
    """Hold all contests; return the rows in the order of the contenders."""
    rows: dict[str, Row] = {}
    async with Cluster(started.bootstrap, started.redis_url) as cluster:
        for name, make in contests(cluster, options.events).items():
            contenders = [c for c in CONTENDERS if c.contest == name and c.name in options.only]
            if contenders:
                for row in await hold(make(), contenders, cluster, home, options.rounds):
                    rows[row.contender.name] = row
    return [rows[contender.name] for contender in CONTENDERS if contender.name in rows]


def about(options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Say what was run where."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "events": options.events,
        "rounds": options.rounds,
        "seconds": round(seconds, 1),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "faust": faust.__version__,
        "aiokafka": aiokafka.__version__,
    }


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader at first: it tries again
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attune-bench-") as folder:
        home = Path(folder)
        started = LocalPlatform(home)
        started.start()
        try:
            rows = asyncio.run(bench(options, started, home))
        finally:
            started.stop()
    result = report.as_json(rows, about(options, time.monotonic() - began))
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{result['at'].replace(':', '')}-{os.getpid()}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    _say(f"written to {path}")
    print(json.dumps(result) if options.json else report.as_table(rows))
    return 0 if result["right"] else 1


def _rate(run: Run) -> str:
    return "not finished" if run.rate is None else f"{run.rate:,.0f} events per CPU second"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
