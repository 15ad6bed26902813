"""What the commands `attune policy` and `attune model` share: publish, list, roll back."""

import asyncio
import dataclasses
from pathlib import Path

import typer

from agents.cli import connect, context
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


def count(errors: int) -> None:
    """Say how many errors a document has, beside the list of them."""
    typer.echo("1 error" if errors == 1 else f"{errors} errors", err=True)


def show_versions(kind: str, *, as_json: bool) -> None:
    """List what was published and which version decides."""
    from rich.console import Console
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
    Console().print(table)
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
