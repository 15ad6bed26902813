"""`python -m tests.simulation`: run many seeds, or see one of them again.

Exit code 1 where a seed breaks a promise; its trace is printed, and how to see it again.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from tests.simulation.mutants import MUTANTS
from tests.simulation.world import World, Wrong

_BY_NAME = {mutant.__name__: mutant for mutant in MUTANTS}
_CHUNK = 25


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run only this one and print its trace")
    parser.add_argument("--mutant", choices=_BY_NAME, help="take this safeguard out of the engine")
    parser.add_argument("--losing", action="store_true", help="changelogs are lost, too, and leaders cut off")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    given = parser.parse_args()
    if given.seed is not None:
        return _show(given.seed, given.mutant, given.losing)
    started = time.monotonic()
    chunks = [
        range(at, min(at + _CHUNK, given.first + given.seeds))
        for at in range(given.first, given.first + given.seeds, _CHUNK)
    ]
    wrong = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for told in pool.map(_several, chunks, repeat(given.mutant), repeat(given.losing)):
            wrong += len(told)
            print(*told, sep="\n", end="\n" if told else "", flush=True)
    seconds = time.monotonic() - started
    print(f"{given.seeds} seeds in {seconds:.0f} s, {given.seeds / seconds * 60:,.0f} a minute; {wrong} wrong")
    return 1 if wrong else 0


def _several(seeds: range, mutant: str | None, losing: bool) -> list[str]:
    """Return in one line each what is wrong with some seeds."""
    found = []
    for seed in seeds:
        try:
            _run(seed, mutant, losing)
        except Wrong as error:
            found.append(str(error).splitlines()[0])
    return found


def _show(seed: int, mutant: str | None, losing: bool) -> int:
    try:
        world = _run(seed, mutant, losing)
    except Wrong as error:
        print(error)
        return 1
    print("\n".join(world.cluster.trace))
    print(f"seed {seed}: held; troubles: {', '.join(world.troubles)}")
    return 0


def _run(seed: int, mutant: str | None, losing: bool) -> World:
    if mutant is None:
        world = World(seed, losing=losing)
        world.run()
        return world
    with _BY_NAME[mutant]():
        return _run(seed, None, losing)


if __name__ == "__main__":
    raise SystemExit(main())
