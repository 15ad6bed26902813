"""Do everything that can go wrong to the main job and print how long each takes to be over.

`python -m tests.faults` makes platforms, a registry and a cluster of three brokers of its own under a temporary
folder. Each round does every fault once, in an order that its seed decides; after it `attune prove` must hold. A row
has the median and the worst of the rounds.
"""

import argparse
import asyncio
import collections
import random
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.faults.broker_faults import BROKER_FAULTS
from tests.faults.brokers import SUPPORTED
from tests.faults.faults import FAULTS, Fault, Measured, go_wrong
from tests.faults.main_job import main_job, main_job_on_three, main_job_with_registry
from tests.faults.registry_faults import REGISTRY_FAULTS

Seconds = dict[str, list[float]]


def chosen(faults: Iterable[Fault], only: Sequence[str], seed: int) -> list[Fault]:
    """Return the faults whose names hold one of the words, all without words, in the order of a seed."""
    wanted = [one for one in faults if not only or any(word in one.name for word in only)]
    random.Random(seed).shuffle(wanted)
    return wanted


async def run(folder: Path, only: Sequence[str], seed: int) -> list[Measured]:
    """Do one round: on one broker, with a registry, and on three brokers."""
    found: list[Measured] = []
    for name, faults, start in (
        ("one", FAULTS, main_job),
        ("registry", REGISTRY_FAULTS, main_job_with_registry),
        ("three", BROKER_FAULTS if SUPPORTED else (), main_job_on_three),
    ):
        if wanted := chosen(faults, only, seed):
            async with start(folder / name, seed) as job:
                job.start_all()
                found += await go_wrong(job, wanted)
                await job.prove()
    return found


def table(faults: Iterable[Fault], seconds: Seconds) -> str:
    """Return what was measured, as Markdown."""
    lines = ["| fault | what happens | seconds to recover, median (worst) | counted from |", "|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.happens} | {statistics.median(found):.1f} ({max(found):.1f}) | {one.since} |"
        for one in faults
        if (found := seconds.get(one.name))
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 if a round does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="the first round's; the others count on")
    parser.add_argument("--only", nargs="*", default=[], help="words of the names of faults")
    parser.add_argument("--list", action="store_true", help="print the names and do nothing")
    options = parser.parse_args(arguments)
    every = [*FAULTS, *REGISTRY_FAULTS, *BROKER_FAULTS]
    if options.list:
        print("\n".join(one.name for one in every))
        return 0
    if not chosen(every, options.only, 0):
        parser.error(f"no fault has {' or '.join(options.only)} in its name; --list prints them")
    seconds: Seconds = collections.defaultdict(list)
    for seed in range(options.seed, options.seed + options.rounds):
        with tempfile.TemporaryDirectory(prefix="attune-faults-") as folder:
            try:
                found = asyncio.run(run(Path(folder), options.only, seed))
            except AssertionError as error:
                print(f"--seed {seed} --rounds 1: {error}", *getattr(error, "__notes__", ()), file=sys.stderr)
                return 1
        for one in found:
            seconds[one.fault].append(one.seconds)
            print(f"seed {seed}: {one.seconds:6.1f} s  {one.fault}", file=sys.stderr)
    print(table(every, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
