"""`make bench`: every contender in one run on one broker, in events per CPU second of the worker process.

The broker is an embedded platform in a temporary folder that dies with this process.  Contenders of one
contest take turns, since a machine that is shared changes its speed; medians are compared.  After these
rounds each plain contender is killed once with SIGKILL at a random moment of a run and started again, and
what it has then lost or doubled is printed.  Peers get what they need in .attune/peers, the first time.
Exit code 1 says that a contender gave wrong results or did not finish, or that the engine lost something in
a kill; a target that is missed and a contender that cannot run here are printed as such and change no exit code.
"""

import argparse
import asyncio
import itertools
import json
import logging
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiokafka
import faust

from agents.platform.local import LocalPlatform
from tests.benchmarks import plot, report
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.contenders import CONTENDERS, EVENTS, Contender, contests
from tests.benchmarks.contest import Contest
from tests.benchmarks.report import Kill, Row, Run
from tests.benchmarks.runner import Missing
from tests.benchmarks.stopwatch import RunFailed, kill_run, time_command
from tests.benchmarks.verdict import Verdict

RESULTS = Path(__file__).parent / "results"
_SLOWEST = 1_000
"""Events a wall second under which a contender is given up, beside the time to start."""
_START_SECONDS = 60
_REJOIN_SECONDS = 120
"""To start again after a kill: a group misses a dead member for the whole of its session, a minute with stock Faust."""
_KILL_BETWEEN = (0.1, 0.7)
"""Of the seconds from first record to last commit."""
_KILL_TRIES = 3


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
    parser.add_argument("--events", type=int, default=EVENTS, help=f"events of plain contenders (default {EVENTS:,})")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender but stock-faust (default 3)")
    parser.add_argument("--kills", type=int, default=1, help="runs of each plain contender with a kill (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills (default 1)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios to the loop")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON of the run")
    options = parser.parse_args()
    for name, least in {"events": 1, "rounds": 1, "kills": 0}.items():
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if options.plot and not options.plot.parent.is_dir():
        parser.error(f"--plot: {options.plot.parent} is no folder")
    return options


async def hold(
    contest: Contest, contenders: list[Contender], cluster: Cluster, home: Path, options: argparse.Namespace
) -> list[Row]:
    """Hold one contest: its input once, then its contenders in turns, then the kills."""
    missing = {contender.name: _why_missing(contender) for contender in contenders}
    present = [contender for contender in contenders if not missing[contender.name]]
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    kills: dict[str, list[Kill]] = {contender.name: [] for contender in contenders}
    if present:
        await contest.publish()
    turns = itertools.count()
    for number in range(options.rounds):
        for contender in present:
            if number == 0 or not contender.once:
                run = await take_turn(contest, contender, cluster, home, turns)
                runs[contender.name].append(run)
                _say(f"{contender.name}: {_rate(run)}, {'right' if run.verdict.right else 'WRONG'}")
    for number in range(options.kills):
        for contender in present:
            walls = [run.timing.wall_seconds for run in runs[contender.name] if run.timing is not None]
            if contender.killed and walls:
                chance = random.Random(f"{options.seed} {contender.name} {number}")
                kill = await take_blow(contest, contender, cluster, home, turns, chance, statistics.median(walls))
                kills[contender.name].append(kill)
                _say(f"{contender.name}, killed after {kill.seconds:.2f} s: {kill}")
    return [Row(c, runs[c.name], kills[c.name], missing[c.name]) for c in contenders]


async def take_turn(contest: Contest, contender: Contender, cluster: Cluster, home: Path, turns: Iterator[int]) -> Run:
    """Run one contender once and judge it."""
    assignment = await _prepared(contest, contender, home, next(turns))
    ends = await contest.ends(assignment)
    events = sum(ends.values())

    async def done() -> bool:
        return await contender.traces.progress(cluster, assignment) == ends

    command = contender.runner.command(assignment)
    try:
        timing = await time_command(command, assignment, done, _START_SECONDS + events / _SLOWEST)
    except RunFailed as failure:
        return Run(events, Verdict((str(failure),)))
    verdict = await contest.judge(assignment)
    await contest.clear(assignment)
    return Run(events, verdict, timing)


async def take_blow(
    contest: Contest,
    contender: Contender,
    cluster: Cluster,
    home: Path,
    turns: Iterator[int],
    chance: random.Random,
    wall_seconds: float,
) -> Kill:
    """Kill one contender once, at a moment of the seconds that a run of it takes, start it again and judge it.

    A run that was done before the kill proves nothing: it is tried again, with half of the time.
    """
    after = 0.0
    for attempt in range(_KILL_TRIES):
        after = chance.uniform(*_KILL_BETWEEN) * wall_seconds / 2**attempt
        assignment = await _prepared(contest, contender, home, next(turns))
        events = sum((await contest.ends(assignment)).values())

        async def progress(assignment: Assignment = assignment, events: int = events) -> float:
            return sum((await contender.traces.progress(cluster, assignment)).values()) / events

        command = contender.runner.command(assignment)
        try:
            patience = _START_SECONDS + _REJOIN_SECONDS + events / _SLOWEST
            committed = await kill_run(command, assignment, progress, patience, after=after)
        except RunFailed as failure:
            return Kill(after, failure=str(failure))
        verdict = await contest.judge(assignment)
        await contest.clear(assignment)
        if committed < 1:
            return Kill(after, committed, verdict.tally)
    return Kill(after, late=True)


async def _prepared(contest: Contest, contender: Contender, home: Path, turn: int) -> Assignment:
    folder = home / f"{contender.name}-{turn}"
    folder.mkdir()
    return await contest.prepare(contender.name, folder, turn)


def _why_missing(contender: Contender) -> str:
    try:
        contender.runner.ready()
    except Missing as missing:
        _say(f"{contender.name}: missing: {missing}")
        return str(missing)
    return ""


async def bench(options: argparse.Namespace, started: LocalPlatform, home: Path) -> list[Row]:
    """Hold all contests; return the rows in the order of the contenders."""
    rows: dict[str, Row] = {}
    async with Cluster(started.bootstrap, started.redis_url) as cluster:
        for name, make in contests(cluster, options.events).items():
            contenders = [c for c in CONTENDERS if c.contest == name and c.name in options.only]
            if contenders:
                for row in await hold(make(), contenders, cluster, home, options):
                    rows[row.contender.name] = row
    return [rows[contender.name] for contender in CONTENDERS if contender.name in rows]


def about(options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Say what was run where."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "events": options.events,
        "rounds": options.rounds,
        "kills": options.kills,
        "seed": options.seed,
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
    if options.plot:
        options.plot.write_text(plot.as_svg(result))
        _say(f"drawn in {options.plot}")
    print(json.dumps(result) if options.json else report.as_table(rows))
    return 0 if result["right"] else 1


def _rate(run: Run) -> str:
    return "not finished" if run.rate is None else f"{run.rate:,.0f} events per CPU second"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
