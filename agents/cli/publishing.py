"""What the commands `attune policy` and `attune model` share: check, publish, list, roll back."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from agents.cli import connect, context, printed
from agents.errors import AttuneError
from schemas import headers as names
from schemas.model import InvalidModel
from schemas.policy import InvalidPolicy

_SHOWN = 40


def publish(kind: str, file: Path, approved_by: str, *, as_json: bool) -> None:
    """Publish a document from a file; AttuneError lists what is wrong with it, with positions."""
    from agents import documents

    settings = connect.kafka_settings()
    try:
        with connect.explained(settings):
            published = asyncio.run(documents.publish(settings, kind, file.read_bytes(), approved_by=approved_by))
    except InvalidPolicy as error:
        raise AttuneError(f"{file} was not published:\n{error}", f"see `attune policy check {file}`") from error
    except InvalidModel as error:
        raise AttuneError(f"{file} was not published: {error}", "correct the document and publish it again") from error
    if as_json:
        context.print_json(dataclasses.asdict(published))
        return
    typer.echo(
        f"{kind} {published.name} {published.version} is published and approved (sequence {published.sequence}); "
        f"the coordinator activates it in every journal partition"
    )


def tell_checked(
    file: Path, document: Any, counted: str, errors: Sequence[Any], lines: Sequence[str], *, as_json: bool
) -> NoReturn:
    """Say what a check has found, and end the command with 0 for a valid document, else with 1.

    `document` is None where there are errors: `errors` as JSON, `lines` as text. `counted` names its list of parts.
    """
    parts = 0 if document is None else len(getattr(document, counted))
    if as_json:
        found = {} if document is None else {"name": document.name, "version": document.version, counted: parts}
        context.print_json({"file": str(file), "ok": not errors, **found, "errors": errors})
    elif document is not None:
        typer.echo(f"{file}: {document.name} {document.version} is valid, {parts} {counted}")
    else:
        for line in lines:
            typer.echo(line)
        typer.echo("1 error" if len(errors) == 1 else f"{len(errors)} errors", err=True)
    raise typer.Exit(1 if errors else 0)


def show_versions(kind: str, *, as_json: bool) -> None:
    """List what was published and which version decides."""
    from rich.table import Table

    from agents import documents

    settings = connect.kafka_settings()
    with connect.explained(settings):
        found = asyncio.run(documents.versions(settings, kind))
    if as_json:
        context.print_json({"versions": [dataclasses.asdict(version) for version in found]})
        return
    if not found:
        typer.echo(f"no {kind} was published; `attune {kind} publish FILE --by NAME` publishes one")
        return
    table = Table("name", "version", "sha256", "approved by", "at", "", box=None, pad_edge=False)
    for version in found:
        at = "" if version.approved_at is None else names.rfc3339(version.approved_at)
        active = "active" if version.is_active else "passed over" if version.passed_over is not None else ""
        table.add_row(version.name, _cut(version.version), version.sha256[:12], version.approved_by, at, active)
    printed.table(table)
    for version in found:
        if version.passed_over is not None:
            typer.echo(f"{version.name} {_cut(version.version)} was approved and passed over: {version.passed_over}")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def roll_back(kind: str, to: str | None, approved_by: str, *, as_json: bool) -> None:
    """Approve an earlier version again."""
    from agents import documents

    settings = connect.kafka_settings()
    with connect.explained(settings):
        published = asyncio.run(documents.roll_back(settings, kind, to=to, approved_by=approved_by))
    if as_json:
        context.print_json(dataclasses.asdict(published))
        return
    typer.echo(
        f"{kind} {published.name} {published.version} is approved again (sequence {published.sequence}); the "
        "coordinator activates it in every journal partition, and offers that were made keep their terms"
    )
