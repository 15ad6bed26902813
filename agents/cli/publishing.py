"""What `attune policy publish` and `attune model publish` share."""

import asyncio
import dataclasses
from pathlib import Path

import typer

from agents.cli import context
from agents.errors import AttuneError
from schemas.model import InvalidModel
from schemas.policy import InvalidPolicy


def publish(kind: str, file: Path, approved_by: str, *, as_json: bool) -> None:
    """Publish a document from a file; AttuneError lists what is wrong with it, with positions."""
    from agents import documents

    settings = context.load()
    try:
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
