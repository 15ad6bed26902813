"""The engine in a simulated world: no seed breaks a promise, and every safeguard that is taken out is missed."""

import asyncio
import contextvars
from itertools import chain
from typing import Any

import pytest

from tests.simulation.loop import PROCESS, Loop, Process, Restless
from tests.simulation.mutants import LOSING, MUTANTS, Mutant
from tests.simulation.world import World, Wrong

SEEDS, LOSING_SEEDS, CHUNK = 300, 150, 50
"""What CI runs; `python -m tests.simulation --seeds 100000` runs more of them."""

SEARCHED = 400
FOUND_BY = {
    "no_claim": 1013,
    "no_owner_numbers": 1013,
    "no_repairs": 709,
    "clock_of_its_own": 2464,
    "compaction_ignored": 400,
    "seeks_at_once": 421,
}
"""Seeds that find the mutants which few seeds find; where the simulation has changed, look for others."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_promise(first: int) -> None:
    """Kills, freezes, zombies, brokers that stand still, wrong clocks: states, outputs, order and commits are right."""
    for seed in range(first, first + CHUNK):
        World(seed).run()


@pytest.mark.parametrize("first", range(0, LOSING_SEEDS, CHUNK))
def test_a_changelog_that_is_lost_is_told(first: int) -> None:
    """It is deleted and made anew, or loses its end, whoever writes to it: refused with the remedy, which heals it."""
    for seed in range(first, first + CHUNK):
        World(seed, losing=True).run()


def killer(mutant: Mutant) -> Wrong | None:
    """Return what the first seed says that finds a mutant."""
    pinned = FOUND_BY.get(mutant.__name__, 0)
    for seed in chain([pinned], range(SEARCHED)):
        try:
            with mutant():
                World(seed, losing=mutant in LOSING).run()
        except Wrong as error:
            return error
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_safeguard_is_needed(mutant: Mutant) -> None:
    """With any one of them taken out some seed is found wrong, and says how to see it again."""
    error = killer(mutant)
    assert error is not None, f"no seed finds {mutant.__name__}: {mutant.__doc__}"
    assert "again: python -m tests.simulation --seed" in str(error)


def test_a_seed_is_the_same_every_time() -> None:
    """Everything that happens follows from the seed."""
    traces = []
    for _ in range(2):
        world = World(7)
        world.run()
        traces.append((list(world.cluster.trace), world.troubles, world.group.committed))
    assert traces[0] == traces[1]


def in_process(loop: Loop, process: Process, work: Any) -> None:
    """Begin a task of a process."""
    context = contextvars.copy_context()
    context.run(PROCESS.set, process)
    loop.create_task(work, context=context)


def test_a_frozen_process_does_nothing_until_it_thaws_and_a_dead_one_never() -> None:
    """A frozen one hears of its timers when it thaws; not even `finally` of a killed one runs while time goes on."""
    loop = Loop()
    frozen, killed = Process("frozen"), Process("killed")
    seen: list[tuple[str, float]] = []
    over = False

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1)
            seen.append((name, loop.time()))
        finally:
            assert over or name != "killed"

    async def world() -> None:
        nonlocal over
        in_process(loop, frozen, work("frozen"))
        in_process(loop, killed, work("killed"))
        await asyncio.sleep(0.5)
        loop.freeze(frozen)
        killed.dead = True
        await asyncio.sleep(9.5)
        loop.thaw(frozen)
        await asyncio.sleep(1)
        over = True

    loop.run(world())
    assert seen == [("frozen", 10.0)]


def test_a_world_in_which_nothing_happens_any_more_is_told() -> None:
    """Waiting for what never comes is an error, not a hang."""

    async def world() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Restless, match="nothing is left"):
        Loop().run(world())
