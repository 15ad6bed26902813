"""The main job under fault, on a real broker, judged by the oracle; seeded and repeated by `make soak`."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.faults.broker_faults import BROKER_FAULTS
from tests.faults.brokers import SUPPORTED
from tests.faults.faults import FAULTS, go_wrong
from tests.faults.main_job import ROLES, main_job, main_job_on_three, main_job_with_registry
from tests.faults.registry_faults import REGISTRY_FAULTS

pytestmark = pytest.mark.kafka

POINTS = ("before_outputs", "after_outputs", "after_changelog", "after_commit")
QUICK = [one for one in FAULTS if not one.takes_long]
HALVES = (QUICK[::2], QUICK[1::2])


@pytest.mark.parametrize("half", [0, 1])
async def test_whatever_goes_wrong_the_oracle_holds(tmp_path: Path, half: int) -> None:
    """Each fault of tests/faults/faults.py, one after the other, amid poison and a producer's repetitions.

    Every interaction counts once, every bad one is a dead letter, states and outputs are the fold's.
    """
    async with main_job(tmp_path, seed=half + 1) as job:
        job.start_all()
        faults = list(HALVES[half])
        job.rng.shuffle(faults)
        for one in await go_wrong(job, faults, pace=200):
            print(f"{one.seconds:5.1f} s  {one.fault}")
        report = await job.prove()
        assert report["dead"] > 0
        assert report["refused"] > 0
        assert report["outputs"] > 500


@pytest.mark.skipif(not SUPPORTED, reason="loopback has one address here, and links between brokers need several")
async def test_a_broker_of_three_is_lost_or_cut_off(tmp_path: Path) -> None:
    """Of topics replicated three times a leader is killed, and one is cut off that clients still reach."""
    async with main_job_on_three(tmp_path, seed=1) as job:
        job.start_all()
        for one in await go_wrong(job, list(BROKER_FAULTS), pace=300):
            print(f"{one.seconds:5.1f} s  {one.fault}")
        await job.prove()


async def test_the_registry_is_away(tmp_path: Path) -> None:
    """A router that knows the schemas goes on without it, one that starts then waits; nothing is lost or dead."""
    async with main_job_with_registry(tmp_path, seed=1) as job:
        job.start_all()
        await go_wrong(job, list(REGISTRY_FAULTS), pace=300)
        report = await job.prove()
        assert report["dead"] > 0


@pytest.mark.parametrize("role", ["router", "fold"])
async def test_death_at_every_point_of_a_batch(tmp_path: Path, role: str) -> None:
    """Death before or after the outputs, after the changelog, after the commit: nothing is lost, nothing doubled."""
    async with main_job(tmp_path, seed=2) as job:
        for other in ROLES:
            if other != role:
                job.start(other)
        async with job.publishing(pace=300):
            for point in POINTS if role == "fold" else [point for point in POINTS if point != "after_changelog"]:
                worker = job.start(role, **{point: 5})
                assert await asyncio.to_thread(worker.wait, 40) == 9, job.logs()
            job.start(role)
        report = await job.prove()
        if role == "fold":
            assert report["repeated_outputs"] > 0
        else:
            assert report["copies"] > 0


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


@pytest.mark.soak
async def test_soak(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Faults of every kind at random, for as long as --soak-seconds says; the oracle is asked again and again."""
    seconds = float(pytestconfig.getoption("--soak-seconds"))
    seed = int(os.environ.get("ATTUNE_TEST_SEED", "6"))
    async with main_job(tmp_path, seed) as job:
        job.start_all()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            several = job.rng.sample(FAULTS if seconds > 300 else QUICK, 3)
            for one in await go_wrong(job, several, pace=500):
                print(f"{one.seconds:5.1f} s  {one.fault}")
            await job.prove()
