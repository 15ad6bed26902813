"""What every kind of contest has: an input, runs of contenders over it, and a judgement of each run."""

from pathlib import Path
from typing import Protocol

from tests.benchmarks.assignment import Assignment
from tests.benchmarks.verdict import Verdict


class Contest(Protocol):
    """Contenders that are judged in the same way."""

    async def publish(self) -> None:
        """Write the input, once."""

    async def prepare(self, contender: str, folder: Path, turn: int) -> Assignment:
        """Make ready for one run; `turn` is unique."""

    async def ends(self, assignment: Assignment) -> dict[int, int]:
        """Return the offsets whose commit ends the run."""

    async def judge(self, assignment: Assignment) -> Verdict:
        """Compare what the run has left with a sequential fold."""

    async def clear(self, assignment: Assignment) -> None:
        """Delete what the run has left, so that the disk does not fill."""
