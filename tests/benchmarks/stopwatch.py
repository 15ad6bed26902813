"""Runs one contender as a child process and reads its CPU clock.

From the first record processed (the child notes its own clock then) until the broker shows the commit
of the last; user and system time of all its threads.  What it does before, and after, does not count.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from agents.platform.leash import leashed
from tests.benchmarks.assignment import Assignment

ROOT = Path(__file__).parents[2]
_POLL_SECONDS = 0.1
_LEAVE_SECONDS = 20.0


class Timing(NamedTuple):
    """Seconds of one run; memory is what was resident at its end."""

    cpu_seconds: float
    wall_seconds: float
    resident_mb: float


class RunFailed(RuntimeError):
    """A contender ended or did not finish; the message holds the end of its log."""


async def time_run(module: str, assignment: Assignment, done: Callable[[], Awaitable[bool]], seconds: float) -> Timing:
    """Start a contender, wait until `done`, return what it took.  Raises RunFailed after so many seconds."""
    child = _start(module, assignment)
    try:
        deadline = time.monotonic() + seconds
        while not await done():
            if child.poll() is not None:
                raise RunFailed(f"{assignment.contender} ended with {child.returncode}:\n{_tail(assignment)}")
            if time.monotonic() > deadline:
                raise RunFailed(f"{assignment.contender} was not done after {seconds:.0f} s:\n{_tail(assignment)}")
            await asyncio.sleep(_POLL_SECONDS)
        return _read(assignment)
    finally:
        await _end(child)


def _start(module: str, assignment: Assignment) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", assignment.dumps()]
    with assignment.log.open("wb") as log:
        return subprocess.Popen(
            leashed(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )


def _read(assignment: Assignment) -> Timing:
    began = json.loads(assignment.mark.read_text())
    process = psutil.Process(began["pid"])
    used = process.cpu_times()
    return Timing(
        used.user + used.system - began["cpu_seconds"],
        time.time() - began["wall"],
        process.memory_info().rss / 1e6,
    )


async def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)
    try:
        await asyncio.to_thread(child.wait, _LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _tail(assignment: Assignment) -> str:
    return assignment.log.read_text(errors="replace")[-3_000:]
