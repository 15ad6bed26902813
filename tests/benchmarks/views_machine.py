"""What the machine itself adds to every figure: how late a timer fires in a process that has nothing to do.

Run as a module it sleeps 5 ms again and again until its standard input is closed, then prints by how many ms each
sleep was too long.
"""

import asyncio
import contextlib
import json
import select
import sys
import time
from collections.abc import AsyncIterator

PAUSE_SECONDS = 0.005


class Machine:
    """By how many milliseconds timers were late, and how much of all cores was left over, once the block has ended."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.idle = 0.0


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Machine]:
    """Watch the machine while the block runs."""
    import psutil

    machine = Machine()
    before, begun = psutil.cpu_times().idle, time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.views_machine",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield machine
    finally:
        out, _ = await process.communicate(b"")  # closes its input
        machine.late_ms = json.loads(out)
        machine.idle = (psutil.cpu_times().idle - before) / (time.monotonic() - begun) / psutil.cpu_count()


def main() -> None:
    """Sleep and measure until nobody is interested any more."""
    late = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        begun = time.perf_counter()
        time.sleep(PAUSE_SECONDS)
        late.append((time.perf_counter() - begun - PAUSE_SECONDS) * 1_000)
    json.dump(late, sys.stdout)


if __name__ == "__main__":
    main()
