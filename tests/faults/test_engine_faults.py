"""Faults on a real broker, each judged by a sequential fold of the same input."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import case

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_at_random_moments(kafka: Any, tmp_path: Path, seed: int) -> None:
    """kill -9 of the worker at random moments, again and again: states and outputs are those of an undisturbed fold."""
    rng = random.Random(seed)
    async with case(kafka.bootstrap, seed, tmp_path) as run:
        feeding = asyncio.create_task(run.produce(30_000, pace=4_000))
        for _ in range(4):
            worker = run.start_worker("--batch", "50")
            await asyncio.sleep(2.0 + rng.random())
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        await feeding
        run.start_worker()
        await run.until_done()
        run.stop_workers()
        print(await run.judge())


async def test_death_between_outputs_and_changelog(kafka: Any, tmp_path: Path) -> None:
    """A worker that dies after its outputs and before its changelog: outputs come again, same id, same content."""
    async with case(kafka.bootstrap, 3, tmp_path) as run:
        await run.produce(5_000)
        for nth in (1, 3):
            worker = run.start_worker("--die-between", str(nth), "--batch", "200")
            assert await asyncio.to_thread(worker.wait, 30) == 9
        run.start_worker()
        await run.until_done()
        run.stop_workers()
        counts = await run.judge()
        assert counts["repeated_outputs"] > 0


async def test_workers_joining_and_leaving(kafka: Any, tmp_path: Path) -> None:
    """Two workers that come and go while events flow: nothing is lost, doubled or folded twice."""
    async with case(kafka.bootstrap, 4, tmp_path) as run:
        feeding = asyncio.create_task(run.produce(40_000, pace=4_000))
        first = run.start_worker("--batch", "100")
        await asyncio.sleep(2.5)
        second = run.start_worker("--batch", "100")
        await asyncio.sleep(3)
        first.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.wait, 20)
        third = run.start_worker()
        await asyncio.sleep(2)
        second.send_signal(signal.SIGKILL)
        await feeding
        await run.until_done()
        assert third.poll() is None
        run.stop_workers()
        await run.judge()


async def test_frozen_worker_that_wakes_late(kafka: Any, tmp_path: Path) -> None:
    """A worker frozen past its session, replaced, then thawed: its late appends change nothing."""
    async with case(kafka.bootstrap, 5, tmp_path) as run:
        feeding = asyncio.create_task(run.produce(40_000, pace=3_000))
        frozen = run.start_worker("--batch", "50")
        await asyncio.sleep(3)
        os.kill(frozen.pid, signal.SIGSTOP)
        run.start_worker("--batch", "50")
        await asyncio.sleep(9)
        os.kill(frozen.pid, signal.SIGCONT)
        await feeding
        await run.until_done()
        run.stop_workers()
        await run.judge()


async def test_a_source_that_is_made_anew_under_its_worker_is_refused(kafka: Any, tmp_path: Path) -> None:
    """It is deleted and created again: whoever folded the old one says so and ends, and so does the next."""
    async with case(kafka.bootstrap, 6, tmp_path) as run:
        worker = run.start_worker("--confirm", "2")
        await run.produce(5_000)
        await run.until_done()
        await run.make_source_anew()
        await run.produce(50)
        await run.refused(worker, "truncated, or deleted and created anew; put the old log back")
        await run.refused(run.start_worker("--confirm", "2"), "truncated, or deleted and created anew")


async def test_a_source_that_was_made_anew_and_has_grown_is_refused(kafka: Any, tmp_path: Path) -> None:
    """It has come further than what was folded before its worker comes back: what stands there tells."""
    async with case(kafka.bootstrap, 8, tmp_path) as run:
        run.start_worker()
        await run.produce(2_000)
        await run.until_done()
        run.stop_workers()
        await run.make_source_anew()
        run.seed += 1
        await run.produce(6_000)
        await run.refused(run.start_worker(), "is not the one that was read there")


@pytest.mark.parametrize("when", ["while nobody reads", "while it is read"])
async def test_a_source_that_lost_its_beginning_is_refused(kafka: Any, tmp_path: Path, when: str) -> None:
    """Retention was faster than the worker, stopped or frozen: what is gone was never folded, so it does not go on."""
    async with case(kafka.bootstrap, 7, tmp_path) as run:
        worker = run.start_worker("--confirm", "2")
        await run.produce(5_000)
        await run.until_done()
        if when == "while it is read":
            os.kill(worker.pid, signal.SIGSTOP)
        else:
            run.stop_workers()
        await run.produce(20_000)
        await run.delete_before(4_000)
        if when == "while it is read":
            os.kill(worker.pid, signal.SIGCONT)
        else:
            worker = run.start_worker("--confirm", "2")
        await run.refused(worker, "but the log holds 4000 to .*: it was truncated")
