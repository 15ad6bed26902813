"""What `attune publish` says."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from agents.inbound.interaction_fields import shown
from agents.inbound.interaction_file import KEPT_FAULTS, Checked, nearest_declared
from agents.inbound.publisher import Published
from schemas.headers import rfc3339


def warn_of_undeclared(undeclared: Counter[str]) -> None:
    """Name event types that nobody declared, on standard error, with what was perhaps meant."""
    for name, count in undeclared.most_common(KEPT_FAULTS):
        near = nearest_declared(name)
        hint = f"; did you mean {near}?" if near else ""
        words = f"{count:,} of the undeclared type {shown(name)}, kept as contacts without meaning"
        sys.stderr.write(f"attune: {words}{hint}\n")
    if len(undeclared) > KEPT_FAULTS:
        sys.stderr.write(f"attune: and {len(undeclared) - KEPT_FAULTS:,} more undeclared types\n")


def report(file: Path, checked: Checked, sent: Published | None, *, refused: bool, dry_run: bool) -> None:
    """Print the errors on standard error and what became of the good lines."""
    for fault in checked.faults:
        typer.echo(f"{file}: {fault}", err=True)
    if checked.more_faults:
        typer.echo(f"and {checked.more_faults:,} more errors", err=True)
    if checked.bad:
        typer.echo(f"{checked.bad:,} bad lines, {checked.good:,} good ones", err=True)
    if refused:
        typer.echo("nothing was published; next: correct the lines, or publish the others with --skip-bad", err=True)
    elif dry_run:
        typer.echo(f"{checked.good:,} interactions would be published; nothing was sent")
    else:
        typer.echo(f"{0 if sent is None else sent.count:,} interactions published")


def plain(file: Path, checked: Checked, sent: Published | None, *, dry_run: bool) -> dict[str, Any]:
    """Return the same for a script."""
    return {
        "file": str(file),
        "good": checked.good,
        "bad": checked.bad,
        "published": 0 if sent is None else sent.count,
        "watermarks": 0 if sent is None else sent.watermarks,
        "dry_run": dry_run,
        "first_at": _time(None if sent is None else sent.first_ms),
        "last_at": _time(None if sent is None else sent.last_ms),
        "errors": [{"line": fault.line, "field": fault.field, "message": fault.message} for fault in checked.faults],
        "more_errors": checked.more_faults,
        "undeclared": [
            {"type": name, "count": count, "nearest": nearest_declared(name)}
            for name, count in checked.undeclared.items()
        ],
    }


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)
