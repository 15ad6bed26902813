"""`attune journal split` that dies while it copies, while it cuts, or while it ends the copies.

Run as `python -m tests.faults.crashing_split PHASE NTH ARGUMENT...`; it dies with code 9 once the n-th batch of that
phase (copy, cut, finish) is acknowledged, or with a negative number before it is sent.
"""

import os
import sys
from typing import Any

from agents.cli import main as cli
from agents.journal.copies import Copies

_CODE = 9
_PHASES = {"copy": "catch_up", "cut": "cut", "finish": "finish"}


def arm(phase: str, nth: int) -> None:
    """Make the process die in a phase."""
    left = [abs(nth)]
    entered: list[str] = []
    work, send = getattr(Copies, _PHASES[phase]), Copies._send

    async def entering(self: Copies, *args: Any) -> Any:
        entered.append(phase)
        try:
            return await work(self, *args)
        finally:
            entered.pop()

    async def sending(self: Copies, number: int, batch: Any) -> int:
        if entered:
            left[0] -= 1
            if nth < 0 and left[0] <= 0:
                os._exit(_CODE)
        base = await send(self, number, batch)
        if entered and left[0] <= 0:
            os._exit(_CODE)
        return base

    setattr(Copies, _PHASES[phase], entering)
    Copies._send = sending  # type: ignore[method-assign]


def main() -> None:
    """Arm the phase, then be `attune journal split`."""
    phase, nth, *arguments = sys.argv[1:]
    arm(phase, int(nth))
    sys.argv = ["attune", "journal", "split", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
