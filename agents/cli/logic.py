"""`attune logic`: which behaviour of the core is active."""

import asyncio
import dataclasses
from typing import Annotated

import typer

from agents.cli import connect, context
from agents.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Versions of the core's behaviour, for upgrades without a stop.")


@app.callback()
def group() -> None:
    """Work with versions of logic."""


@app.command("activate", epilog="Example: attune logic activate 1 --by ann")
def activate(
    version: Annotated[int, typer.Argument(min=1, help="a version that every running worker knows")],
    *,
    by: Annotated[str, typer.Option("--by", help="who approves it; stands in the log")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Switch all folds to a version of the core's behaviour, at one position of each journal partition.

    Do so when every worker has been replaced by the new release: older ones would wait. An earlier version may be
    activated to go back.
    """
    from agents import documents
    from streams import logic

    if version > logic.NEWEST:
        raise UsageError(
            f"this release knows logic up to {logic.NEWEST}, not {version}",
            "upgrade this command and every worker first",
        )
    settings = connect.kafka_settings()
    with connect.explained(settings):
        published = asyncio.run(documents.activate_logic(settings, version, approved_by=by))
    if json:
        context.print_json(dataclasses.asdict(published))
        return
    typer.echo(f"logic {version} is approved (sequence {published.sequence}); the coordinator activates it everywhere")
