"""Contenders `router` and `thin-core`: the workers of agents.workers as they are shipped."""

import sys
from pathlib import Path

from agents import workers
from agents.settings import Settings
from tests.benchmarks.assignment import Assignment, begin, note_first_run

SECRET = "0123456789abcdef0123456789abcdef"
"""Keys the digest of identifiers."""
_ROLES = {"router": workers.router, "thin-core": workers.fold}


def settings_of(assignment: Assignment) -> Settings:
    """Return the settings of a worker."""
    return Settings(
        home=Path(assignment.folder),
        kafka=assignment.kafka,
        redis={"url": assignment.redis_url},  # type: ignore[arg-type]
        privacy={"secret": SECRET},  # type: ignore[arg-type]
    )


def main() -> int:
    """Run until a signal; return the exit code."""
    assignment = begin()
    app = _ROLES[assignment.contender](settings_of(assignment))
    note_first_run(app.engine_options.engine, assignment)
    return workers.run_app(app)


if __name__ == "__main__":
    sys.exit(main())
