"""What an event costs the fold as the work grows; prints what was asked and what was reached.

`python -m tests.benchmarks.scaling workers`: two fold workers compared with one, asked at most 1.15 times the CPU.
`python -m tests.benchmarks.scaling customers`: a million customers with ten thousand, asked at most twice the CPU.

Both run on an embedded Kafka of their own and judge every result by a sequential fold.  Exit code 1 says that something
was wrong or did not end; a ratio that is missed is printed as missed.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from agents.platform.local import LocalPlatform
from tests.benchmarks import scaling_customers, scaling_workers
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.stopwatch import RunFailed

Work = Callable[[Cluster, Path, int], Awaitable[tuple[str, Sequence[str]]]]
"""Takes a cluster, a folder and the broker's process id; returns the table and what is wrong."""


def on_platform(work: Work) -> tuple[str, Sequence[str]]:
    """Do it on an embedded platform that ends with it."""

    async def inside(platform: LocalPlatform, home: Path, broker: int) -> tuple[str, Sequence[str]]:
        async with Cluster(platform.bootstrap, platform.redis_url) as cluster:
            return await work(cluster, home, broker)

    with tempfile.TemporaryDirectory(prefix="attune-scaling-") as folder:
        home = Path(folder)
        platform = LocalPlatform(home)
        broker = platform.start().kafka_pid
        assert broker is not None
        try:
            return asyncio.run(inside(platform, home, broker))
        finally:
            platform.stop()


def positive(text: str) -> int:
    """Read a whole number of at least 1 from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    of = parser.add_subparsers(dest="of", required=True)
    workers = of.add_parser("workers", description=scaling_workers.__doc__)
    workers.add_argument("--events", type=positive, default=60_000, help="events in the journal (default 60,000)")
    customers = of.add_parser("customers", description=scaling_customers.__doc__)
    customers.add_argument("--events", type=positive, default=20_000, help="events of a turn (default 20,000)")
    customers.add_argument(
        "--customers", type=positive, nargs="+", default=scaling_customers.SIZES, help="default 10000 100000 1000000"
    )
    for one in (workers, customers):
        one.add_argument("--rounds", type=positive, default=3, help="turns of each (default 3)")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run a benchmark; return the exit code."""
    options = arguments(given)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader at first: it tries again

    async def workers(cluster: Cluster, home: Path, broker: int) -> tuple[str, Sequence[str]]:
        turns = await scaling_workers.bench(cluster, home, broker, options.events, options.rounds)
        wrong = [f"{turn.workers} workers: {fault}" for turn in turns for fault in turn.verdict.wrong]
        return scaling_workers.as_table(turns), wrong

    async def customers(cluster: Cluster, home: Path, broker: int) -> tuple[str, Sequence[str]]:
        found = await scaling_customers.bench(cluster, home, options.customers, options.events, options.rounds)
        return scaling_customers.as_table(found), found.wrong

    try:
        table, wrong = on_platform(workers if options.of == "workers" else customers)
    except RunFailed as failure:
        print(f"WRONG {failure}")
        return 1
    print(table)
    print(f"{os.cpu_count()} cores, shared; load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print("\n".join(f"WRONG {fault}" for fault in wrong) if wrong else "results: right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
