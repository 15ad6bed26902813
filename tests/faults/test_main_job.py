"""The main job under fault, on a real broker, judged by the oracle; seeded and repeated by `make soak`."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.main_job import ROLES, MainJob, main_job

pytestmark = pytest.mark.kafka

POINTS = ("before_outputs", "after_outputs", "after_changelog", "after_commit")


async def test_kill_at_random_moments(tmp_path: Path) -> None:
    """kill -9 of router, fold or coordinator at random moments: every interaction counts once, outputs are the fold's.

    Poison and a producer's repetitions are among them.
    """
    async with main_job(tmp_path, seed=1) as job:
        job.start_all()
        async with job.publishing(pace=1_500):
            for _ in range(4):
                await asyncio.sleep(2.5 + job.rng.random())
                role = job.rng.choice(ROLES)
                job.kill(role)
                job.start(role)
            await asyncio.sleep(2)
        report = await job.prove()
        assert report["dead"] > 0
        assert report["refused"] > 0
        assert report["outputs"] > 500


@pytest.mark.parametrize("role", ["router", "fold"])
async def test_death_at_every_point_of_a_batch(tmp_path: Path, role: str) -> None:
    """Death before or after the outputs, after the changelog, after the commit: nothing is lost, nothing doubled."""
    async with main_job(tmp_path, seed=2) as job:
        for other in ROLES:
            if other != role:
                job.start(other)
        async with job.publishing(pace=800):
            for point in POINTS if role == "fold" else [point for point in POINTS if point != "after_changelog"]:
                worker = job.start(role, **{point: 5})
                assert await asyncio.to_thread(worker.wait, 40) == 9, job.logs()
            job.start(role)
        report = await job.prove()
        if role == "fold":
            assert report["repeated_outputs"] > 0
        else:
            assert report["copies"] > 0


async def test_workers_joining_and_leaving(tmp_path: Path) -> None:
    """Second workers of both roles come and go, one in order, one by SIGKILL, while interactions flow."""
    async with main_job(tmp_path, seed=3) as job:
        job.start_all()
        async with job.publishing(pace=1_200):
            await job.at_work()
            job.start("fold", "fold-2")
            job.start("router", "router-2")
            await asyncio.sleep(4)
            assert await job.leave("fold") == 0
            await asyncio.sleep(2)
            job.kill("router")
            await asyncio.sleep(1)
            job.start("fold", "fold-3")
            await asyncio.sleep(4)
        await job.prove()


async def test_broker_restarts(tmp_path: Path) -> None:
    """The broker is restarted in order, then killed and started again, while interactions flow."""
    async with main_job(tmp_path, seed=4) as job:
        job.start_all()
        async with job.publishing(pace=800):
            for kill in (False, True):
                await job.at_work()
                await asyncio.sleep(2)
                job.restart_broker(kill=kill)
                await asyncio.sleep(2)
                job.restart_what_died()
        await job.prove()


async def test_the_key_store_is_away(tmp_path: Path) -> None:
    """While Valkey is frozen the router waits for its keys and says so; nothing is lost, nothing goes out unsealed."""
    async with main_job(tmp_path, seed=7) as job:
        job.start_all()
        assert job.platform is not None
        valkey = job.platform.status().valkey_pid
        assert valkey is not None
        async with job.publishing(pace=600):
            await job.at_work()
            os.kill(valkey, signal.SIGSTOP)
            try:
                await asyncio.sleep(9)
                assert "waits" in job.logs()
            finally:
                os.kill(valkey, signal.SIGCONT)
        await job.prove()


async def test_a_rebuild_from_the_journal(tmp_path: Path) -> None:
    """`attune worker fold --rebuild`, with documents active, folds every state again; all is as it was."""
    async with main_job(tmp_path, seed=8) as job:
        job.start_all()
        async with job.publishing(pace=800):
            await job.at_work()
            await asyncio.sleep(2)
        before = await job.prove()
        assert await job.leave("fold") == 0
        job.start("fold", None, "--rebuild")
        async with job.publishing(pace=400):
            await asyncio.sleep(5)
        report = await job.prove()
        assert report["states"] >= before["states"]
        assert "rebuilding state from the source" in job.logs()


async def test_frozen_fold_that_wakes_late(tmp_path: Path) -> None:
    """A fold frozen past its session and replaced, then thawed: its late appends change nothing."""
    async with main_job(tmp_path, seed=5) as job:
        job.start_all()
        async with job.publishing(pace=800):
            await job.at_work()
            frozen = job.workers["fold"]
            os.kill(frozen.pid, signal.SIGSTOP)
            job.start("fold", "fold-2")
            await asyncio.sleep(13)
            os.kill(frozen.pid, signal.SIGCONT)
            await asyncio.sleep(3)
        await job.prove()


@pytest.mark.soak
async def test_soak(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Faults of every kind at random, for as long as --soak-seconds says; the oracle is asked again and again."""
    seconds = float(pytestconfig.getoption("--soak-seconds"))
    seed = int(os.environ.get("ATTUNE_TEST_SEED", "6"))
    async with main_job(tmp_path, seed) as job:
        job.start_all()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pause = min(deadline, time.monotonic() + 60.0)
            async with job.publishing(pace=1_000):
                while time.monotonic() < pause:
                    await asyncio.sleep(0.5 + 3 * job.rng.random())
                    await _something_happens(job)
            job.restart_what_died()
            print(await job.prove())


async def _something_happens(job: MainJob) -> None:
    what = job.rng.choices(("kill", "crash", "join", "freeze", "broker"), (5, 3, 2, 1, 1))[0]
    role = job.rng.choice(ROLES)
    if what == "kill":
        job.kill(role)
        job.start(role)
    elif what == "crash" and role != "coordinator":
        job.kill(role)
        worker = job.start(role, **{job.rng.choice(POINTS): job.rng.randrange(2, 20)})
        await asyncio.sleep(3)
        worker.kill()
        job.kill(role)
        job.start(role)
    elif what == "join" and role != "coordinator":
        second = f"{role}-2"
        if second in job.workers:
            await job.leave(second)
        else:
            job.start(role, second)
    elif what == "freeze":
        os.kill(job.workers[role].pid, signal.SIGSTOP)
        await asyncio.sleep(12)
        os.kill(job.workers[role].pid, signal.SIGCONT)
    elif what == "broker":
        job.restart_broker(kill=job.rng.random() < 0.5)
