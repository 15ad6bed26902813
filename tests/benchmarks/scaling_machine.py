"""What the machine itself adds when several processes are busy: the same steps of the fold in each, without Kafka.

Run as a module it prints the CPU seconds that its steps have taken.
"""

import asyncio
import statistics
import sys
import time

from streams.step import Core
from tests.benchmarks import core
from tests.streams.journal import MODEL, sha256


async def busy_at_once(count: int, events: int) -> float:
    """Return the CPU seconds that steps over so many events take in each of `count` processes at once, on average."""
    command = (sys.executable, "-m", "tests.benchmarks.scaling_machine", str(events))
    started = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(count)]
    printed = await asyncio.gather(*(process.communicate() for process in started))
    return statistics.mean(float(out) for out, _ in printed)


def main() -> None:
    """Fold a stream and print what that took."""
    before, timed = core.stream(0.1, customers=500, events=int(sys.argv[1]))
    step, table = Core({sha256(raw): raw for raw in (core.PACK, MODEL)}), core.Table()
    for record in before:
        step(table, record)
    began = time.process_time()
    for record in timed:
        step(table, record)
    print(time.process_time() - began)


if __name__ == "__main__":
    main()
