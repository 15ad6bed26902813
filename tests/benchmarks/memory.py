"""What a million states take, and whether the engine's count of it is right.

`python -m tests.benchmarks.memory [--states 1000000] [--bytes 600]` fills a table as a restore does and prints what it
counts, by how much the process has grown, and how many of them it puts at rest a second.
"""

import argparse
import os
import time

import psutil

from agents.engine.table import StateTable


def main() -> None:
    """Fill a table and print what it takes."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=600, help="of each encoded state")
    given = parser.parse_args()
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    table = StateTable(bytes, bytes)
    started = time.process_time()
    for number in range(given.states):
        table.load([(b"%032x" % number, os.urandom(16).ljust(given.bytes, b"."))])
    seconds = time.process_time() - started
    grown = process.memory_info().rss - before
    print(f"{given.states:,} states of {given.bytes} bytes: counted {table.bytes / 1e6:,.0f} MB,", end=" ")
    print(f"the process grew by {grown / 1e6:,.0f} MB ({grown / table.bytes:.2f} of it);", end=" ")
    print(f"{given.states / seconds:,.0f} a CPU second")


if __name__ == "__main__":
    main()
