"""`attune topology`: the system on one screen, drawn from the code; ARCHITECTURE.md holds the same drawing."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from agents.cli import context
from agents.errors import AttuneError, UsageError

app = typer.Typer()

FILE = Path(__file__).parents[2] / "ARCHITECTURE.md"
BEGIN = "<!-- topology:begin -->"
END = "<!-- topology:end -->"


@app.command("topology", epilog="Examples: `attune topology`, `attune topology --write`, `attune topology --check`")
def topology(
    *,
    write: Annotated[bool, typer.Option("--write", help="put the drawing into the file")] = False,
    check: Annotated[bool, typer.Option("--check", help="exit 1 when the file's drawing is stale")] = False,
    file: Annotated[Path, typer.Option(help="the file with the drawing", show_default="ARCHITECTURE.md")] = FILE,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object: who reads and writes what")] = False,
) -> None:
    """Draw who reads what, who writes what, who keeps state, as a Mermaid flow chart."""
    from agents.topology import TOPOLOGY, draw

    if write and check:
        raise UsageError("--write and --check exclude each other", "check in a pipeline, write at your desk")
    if not (write or check):
        if json:
            context.print_json({"agents": [dataclasses.asdict(agent) for agent in TOPOLOGY]})
        else:
            typer.echo(draw())
        return
    text = _read(file)
    fresh = redrawn(text, draw(), str(file))
    stale = fresh != text
    if write and stale:
        file.write_text(fresh, encoding="utf-8")
    if json:
        context.print_json({"file": str(file), "stale": stale, "written": write and stale})
    elif write:
        typer.echo(f"{file}: {'drawn again' if stale else 'was up to date'}")
    elif not stale:
        typer.echo(f"{file}: up to date")
    if check and stale:
        raise AttuneError(f"{file}: the drawing is stale", "draw it again with `attune topology --write`")


def redrawn(text: str, drawing: str, name: str) -> str:
    """Return a text with the drawing between its markers; AttuneError where it does not have each of them once."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in tail or END in head + tail:
        raise AttuneError(
            f"{name} has no place for the drawing", f"put a line {BEGIN} and below it a line {END} where it belongs"
        )
    return f"{head}{begin}\n{drawing}\n{end}{tail}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise AttuneError(f"there is no {file}", "name it with --file") from error
