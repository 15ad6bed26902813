"""`attune worker`: one role, or all of them under a watchful eye."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents.workers import ROLES
from tests.faults.main_job import MainJob, main_job

ROOT = Path(__file__).parents[3]


def roles(pid: int) -> dict[str, int]:
    """Return the role workers below a process by role."""
    found = {}
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # one that has just ended
            line = child.cmdline()
            if "worker" in line and line[-1] != "worker":
                found[line[-1]] = child.pid
    return found


def until_roles(pid: int, but: int = 0) -> dict[str, int]:
    """Wait for all roles, none of them the process `but`."""
    deadline = time.monotonic() + 90
    while set(found := roles(pid)) != set(ROLES) or but in found.values():
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


@pytest.mark.kafka
async def test_all_roles_run_and_what_dies_is_started_again(tmp_path: Path) -> None:
    """Without a role it runs all; a killed one comes back; SIGTERM ends all in order; the oracle holds."""
    async with main_job(tmp_path, seed=21) as job:
        with supervising(job, tmp_path) as worker:
            first = until_roles(worker.pid)
            async with job.publishing(pace=300):
                await asyncio.sleep(2)
                os.kill(first["fold"], signal.SIGKILL)
                second = until_roles(worker.pid, but=first["fold"])
            assert second["router"] == first["router"]
            await job.prove()
            worker.terminate()
            assert worker.wait(90) == 0
        assert not any(psutil.pid_exists(pid) for pid in second.values())
        assert "worker fold ended with code -9; starting it again" in (tmp_path / "all.log").read_text()


@contextlib.contextmanager
def supervising(job: MainJob, directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield `attune worker` at work; it ends with the block, whatever happens."""
    with (directory / "all.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "agents.cli.main", "worker"], cwd=ROOT, env=job.environment, stdout=log, stderr=log
        )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.terminate()
            worker.wait(40)


def test_an_unknown_role_is_wrong_use() -> None:
    """A role that does not exist: exit code 2, and the ones that do are named."""
    done = subprocess.run(
        [sys.executable, "-m", "agents.cli.main", "worker", "folder"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert all(role in done.stderr for role in ROLES)
