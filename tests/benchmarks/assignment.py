"""What a contender's process is told, and what it tells back: when its first record came, on its own CPU clock.

Every contender in Python is `python -m tests.benchmarks.<module> ASSIGNMENT`, the assignment as JSON.  All begin
with `begin`, which sets the same thresholds of the garbage collector for all.  A peer's interpreter has nothing of
ours installed, so this module needs the standard library only.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.settings import KafkaSettings

COLLECTOR = (200_000, 50, 1_000)
"""Thresholds of the garbage collector, those that the engine's own processes run with."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One run of one contender; `folder` is its own, `group` names its consumer group and private topics."""

    contender: str
    bootstrap: str
    redis_url: str
    folder: str
    group: str
    source: str

    @property
    def kafka(self) -> KafkaSettings:
        """How our own clients reach the broker."""
        from agents.settings import KafkaSettings

        return KafkaSettings(bootstrap=self.bootstrap, replication_factor=1)

    @property
    def out(self) -> str:
        """Topic of the outputs of a plain fold."""
        return f"{self.group}.out"

    @property
    def dead(self) -> str:
        """Topic of the dead letters of a plain fold."""
        return f"{self.group}.dlq"

    @property
    def changelog(self) -> str:
        """Topic of the states of a plain fold; Faust dictates the form of the name."""
        return f"{self.group}-states-changelog"

    @property
    def log(self) -> Path:
        """What the process prints."""
        return Path(self.folder) / "log"

    @property
    def mark(self) -> Path:
        """File that the process writes at its first record."""
        return Path(self.folder) / "mark.json"

    def first_record(self) -> None:
        """Note process id, CPU seconds used so far (user and system, ended children included) and wall time.

        By the kernel's clock ticks, as the parent reads them at the end: a finer clock here could be ahead of those.
        """
        seen = {"pid": os.getpid(), "cpu_seconds": sum(os.times()[:4]), "wall": time.time()}
        fresh = self.mark.with_suffix(".new")
        fresh.write_text(json.dumps(seen))
        fresh.replace(self.mark)

    def dumps(self) -> str:
        """Return the command-line argument."""
        return json.dumps(dataclasses.asdict(self))


def begin() -> Assignment:
    """Read the assignment from the command line; Faust, which reads it too, finds it empty afterwards."""
    assignment = Assignment(**json.loads(sys.argv[1]))
    sys.argv = sys.argv[:1]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    gc.set_threshold(*COLLECTOR)
    return assignment


def note_first_run(engine: Any, assignment: Assignment) -> None:
    """Have an engine note its first run of records, at no cost for those that follow."""
    submit = engine.submit

    def first(*run: Any) -> None:
        assignment.first_record()
        engine.submit = submit
        submit(*run)

    engine.submit = first
