"""Runs one contender as a child process and reads its CPU clock, or kills it once and sees what becomes of it.

From the first record processed (the child notes its own clock then) until the broker shows the commit
of the last; user and system time of all its threads and children.  What it does before, and after, does not count.
"""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from agents.platform.leash import leashed
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.runner import Ours

ROOT = Path(__file__).parents[2]
_POLL_SECONDS = 0.1
_MARK_SECONDS = 0.01
_LEAVE_SECONDS = 20.0

Done = Callable[[], Awaitable[bool]]


class Timing(NamedTuple):
    """Seconds of one run; memory is what was resident at its end."""

    cpu_seconds: float
    wall_seconds: float
    resident_mb: float


class RunFailed(RuntimeError):
    """A contender ended or did not finish; the message holds the end of its log."""


async def time_run(module: str, assignment: Assignment, done: Done, seconds: float) -> Timing:
    """Start a module of ours, wait until `done`, return what it took.  Raises RunFailed after so many seconds."""
    return await time_command(Ours(module).command(assignment), assignment, done, seconds)


async def time_command(command: Sequence[str], assignment: Assignment, done: Done, seconds: float) -> Timing:
    """Start a contender, wait until `done`, return what it took.  Raises RunFailed after so many seconds."""
    async with _started(command, assignment) as child:
        await _until(done, child, assignment, seconds, _POLL_SECONDS)
        return _read(assignment)


async def kill_run(
    command: Sequence[str],
    assignment: Assignment,
    progress: Callable[[], Awaitable[float]],
    seconds: float,
    *,
    after: float,
) -> float:
    """Kill a contender `after` so many seconds from its first record, start it again, wait until all is committed.

    Return the share of events that was committed when it was killed: with 1 the kill came too late.  Raises RunFailed
    after so many seconds.
    """

    async def began() -> bool:
        return assignment.mark.exists()

    async def done() -> bool:
        return await progress() == 1

    async with _started(command, assignment) as child:
        await _until(began, child, assignment, seconds, _MARK_SECONDS)
        await asyncio.sleep(after)
        for process in _tree(child.pid, assignment):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        child.wait()
    committed = await progress()
    async with _started(command, assignment) as child:
        await _until(done, child, assignment, seconds, _POLL_SECONDS)
    return committed


@contextlib.asynccontextmanager
async def _started(command: Sequence[str], assignment: Assignment) -> AsyncIterator[subprocess.Popen[bytes]]:
    with assignment.log.open("ab") as log:
        child = subprocess.Popen(  # noqa: ASYNC220 - as quick as it gets
            leashed(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield child
    finally:
        await _end(child)


async def _until(
    event: Done, child: subprocess.Popen[bytes], assignment: Assignment, seconds: float, poll: float
) -> None:
    deadline = time.monotonic() + seconds
    while not await event():
        if child.poll() is not None:
            raise RunFailed(f"{assignment.contender} ended with {child.returncode}:\n{_tail(assignment)}")
        if time.monotonic() > deadline:
            raise RunFailed(f"{assignment.contender} was not done after {seconds:.0f} s:\n{_tail(assignment)}")
        await asyncio.sleep(poll)


def _read(assignment: Assignment) -> Timing:
    began = json.loads(assignment.mark.read_text())
    tree = _tree(began["pid"], assignment)
    return Timing(
        sum(sum(process.cpu_times()[:4]) for process in tree) - began["cpu_seconds"],
        time.time() - began["wall"],
        sum(process.memory_info().rss for process in tree) / 1e6,
    )


def _tree(pid: int, assignment: Assignment) -> list[psutil.Process]:
    """Return a contender's process and all below it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess as gone:
        raise RunFailed(f"{assignment.contender} ended:\n{_tail(assignment)}") from gone


async def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()  # nothing where it has ended already
    try:
        await asyncio.to_thread(child.wait, _LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _tail(assignment: Assignment) -> str:
    return assignment.log.read_text(errors="replace")[-3_000:]
