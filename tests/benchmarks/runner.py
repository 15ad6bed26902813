"""How a contender's process is started, and what keeps one from starting here."""

import dataclasses
import sys
from typing import Protocol

from tests.benchmarks.assignment import Assignment


class Missing(RuntimeError):
    """A contender cannot run on this machine; the message is the reason, in one line."""


class Runner(Protocol):
    """Starts one kind of contender."""

    def ready(self) -> None:
        """Make what the contender needs and is not there yet.  Raises Missing."""

    def command(self, assignment: Assignment) -> list[str]:
        """Return the command line of its process, once it is ready."""


@dataclasses.dataclass(frozen=True)
class Ours:
    """A module of this folder, in this interpreter."""

    module: str

    def ready(self) -> None:
        """Nothing: everything is installed."""

    def command(self, assignment: Assignment) -> list[str]:
        return [sys.executable, "-m", f"tests.benchmarks.{self.module}", assignment.dumps()]
