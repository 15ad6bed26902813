"""What a large pack costs: the pure core with 50 and with 500 actions, interleaved in one run.

`python -m tests.benchmarks.actions` prints microseconds of CPU an event and their ratio, for the shares of deciding
events of `tests.benchmarks.core`. The packs are the shipped one, its actions repeated with conditions of their own, so
that no two are alike. Asked: 500 actions cost at most 1.3 times as much as 50.
"""

import gc
import json
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

import yaml

from streams.step import Core
from tests.benchmarks.core import PACK, Table, stream
from tests.streams.journal import MODEL, Record, sha256

SIZES = (50, 500)
ASKED = 1.3
REPEATS = 5


def pack_of(size: int) -> bytes:
    """Return the shipped pack grown to so many actions."""
    shipped = yaml.safe_load(PACK)
    chance = random.Random(3)
    actions: list[dict[str, Any]] = []
    while len(actions) < size:
        turn, place = divmod(len(actions), len(shipped["actions"]))
        action = json.loads(json.dumps(shipped["actions"][place]))
        if turn:
            action["id"] += f"-{turn}"
            for treatment in action["treatments"]:
                treatment["id"] += f"-{turn}"
            action["propensity"] = round(action["propensity"] * chance.uniform(0.2, 0.9), 4)
            spent = chance.randrange(1_000, 500_000)
            own = f"customer.purchases >= {chance.randrange(2, 60)} && customer.spend_minor >= {spent}"
            action["eligibility"] = f"({action['eligibility']}) && {own}" if "eligibility" in action else own
        actions.append(action)
    return json.dumps({**shipped, "actions": actions}).encode()


def fold(before: list[Record], timed: list[Record], documents: Mapping[str, bytes]) -> tuple[float, float]:
    """Fold a stream; return CPU seconds of the timed part and the share of it that was decided on."""
    core, table = Core(documents), Table()
    for record in before:
        core(table, record)
    gc.collect()
    started = time.process_time()
    decided = sum(bool(core(table, record)) for record in timed)
    return time.process_time() - started, decided / len(timed)


def main() -> int:
    """Print a line for each share of deciding events."""
    gc.set_threshold(200_000, 50, 1_000)
    packs = {size: pack_of(size) for size in SIZES}
    for large in (0.0, 0.1, 0.3, 1.0):
        best = dict.fromkeys(SIZES, float("inf"))
        share = 0.0
        streams = {size: stream(large, pack=packs[size]) for size in SIZES}
        for _ in range(REPEATS):
            for size, (before, timed) in streams.items():
                documents = {sha256(raw): raw for raw in (packs[size], MODEL)}
                seconds, share = fold(before, timed, documents)
                best[size] = min(best[size], seconds / len(timed))
        costs = "  ".join(f"{size} actions {best[size] * 1e6:6.1f} us" for size in SIZES)
        ratio = best[SIZES[1]] / best[SIZES[0]]
        verdict = "" if ratio <= ASKED else f"  asked at most {ASKED}: missed"
        sys.stdout.write(f"deciding {share:6.1%}  {costs}  ratio {ratio:.2f}{verdict}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
