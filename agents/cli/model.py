"""`attune model publish`: a new risk model for all running folds."""

from pathlib import Path
from typing import Annotated

import typer

from agents.cli import publishing

app = typer.Typer(no_args_is_help=True, help="Risk models.")


@app.callback()
def group() -> None:
    """Work with risk models."""


@app.command("publish", epilog="Example: attune model publish schemas/models/NAME.json --by ann")
def publish(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a model document (JSON)")],
    *,
    by: Annotated[str, typer.Option("--by", help="who approves it; stands in the log")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check a model, publish it and approve it; every fold applies it at its activation in the journal."""
    publishing.publish("model", file, by, as_json=json)
