"""`attune model`: risk models."""

from pathlib import Path
from typing import Annotated

import typer

from agents.cli import publishing

app = typer.Typer(no_args_is_help=True, help="Risk models.")


@app.callback()
def group() -> None:
    """Work with risk models."""


@app.command("check", epilog="Example: attune model check schemas/models/NAME.json")
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a model document (JSON)")],
    *,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check a model and say what is wrong, each with its place in the document. Exit 1 when anything is."""
    from schemas.model import InvalidModel, ModelDocument, read_model

    model: ModelDocument | None = None
    errors: list[str] = []
    try:
        model = read_model(file.read_bytes())
    except InvalidModel as error:
        errors = error.errors
    lines = [f"{file}: {text}" for text in errors]
    publishing.tell_checked(file, model, "features", errors, lines, as_json=json)


@app.command("publish", epilog="Example: attune model publish schemas/models/NAME.json --by ann")
def publish(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a model document (JSON)")],
    *,
    by: Annotated[str, typer.Option("--by", help="who approves it; stands in the log")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check a model, publish it and approve it; every fold applies it at its activation in the journal."""
    publishing.publish("model", file, by, as_json=json)


@app.command("list", epilog="Example: attune model list --json")
def show(*, json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """List every published version, who approved it, and which one decides."""
    publishing.show_versions("model", as_json=json)


@app.command(
    "rollback", epilog="Examples: `attune model rollback --by ann`, `attune model rollback --to retail/3 --by ann`"
)
def rollback(
    *,
    by: Annotated[str, typer.Option("--by", help="who approves it; stands in the log")],
    to: Annotated[
        str | None, typer.Option("--to", help="NAME or NAME/VERSION; by default the one that was active before")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Go back to a version that was published before; every fold applies it at its activation in the journal."""
    publishing.roll_back("model", to, by, as_json=json)
