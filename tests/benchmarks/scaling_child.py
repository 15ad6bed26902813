"""Contenders of the scaling benchmarks: the shipped fold, told when to begin or with topics of its own.

`gated` joins its group and restores, and takes no record before the file `gate` lies beside its folder: so several
workers have their partitions when the first record is folded.  `customers` is the shipped fold over a source and a
changelog of its own, so that several of them work on one broker.
"""

import dataclasses
import sys
from pathlib import Path

from agents import workers
from agents.engine.app import EngineApp
from agents.topology import fold_job
from tests.benchmarks import core
from tests.benchmarks.assignment import Assignment, begin, note_first_run
from tests.benchmarks.shipped import settings_of
from tests.streams.journal import MODEL, sha256

DOCUMENTS = {sha256(raw): raw for raw in (core.PACK, MODEL)}


def gate_of(folder: Path) -> Path:
    """Return the file that opens the workers whose folders lie in a folder."""
    return folder / "gate"


def gated(assignment: Assignment) -> EngineApp:
    """Return the shipped fold behind its gate."""
    app = workers.fold(settings_of(assignment))
    engine, gate = app.engine_options.engine, gate_of(Path(assignment.folder).parent)
    wants = engine.wants

    def when_open(number: int) -> bool:
        if not gate.exists():
            return False
        engine.wants = wants
        return wants(number)

    engine.wants = when_open
    return app


def customers(assignment: Assignment) -> EngineApp:
    """Return the shipped fold over topics of its own."""
    job = dataclasses.replace(
        fold_job(DOCUMENTS, name=assignment.group),
        source=assignment.source,
        changelog=assignment.changelog,
        expected_partitions={},
    )
    return workers.engine_app(settings_of(assignment), job)


_ROLES = {"gated": gated, "customers": customers}


def main() -> int:
    """Run until a signal; return the exit code."""
    assignment = begin()
    app = _ROLES[assignment.contender](assignment)
    note_first_run(app.engine_options.engine, assignment)
    return workers.run_app(app)


if __name__ == "__main__":
    sys.exit(main())
