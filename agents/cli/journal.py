"""`attune journal`: over how many partitions customers are spread, and more of them."""

import asyncio
from typing import Annotated

import typer

from agents.cli import connect, context
from agents.cli.bar import bar

app = typer.Typer(no_args_is_help=True, help="The journal: its partitions, and how it grows.")

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.callback()
def group() -> None:
    """Look after the journal."""


@app.command("split", epilog="Example: attune journal split --to 12, then `attune journal status`")
def split(
    *,
    to: Annotated[int, typer.Option("--to", min=2, help="partitions; a multiple of what there is, at most 16 times")],
    by: Annotated[str, typer.Option("--by", help="who does it; stands in the log of approvals")] = "operator",
    wait: Annotated[
        float | None,
        typer.Option(min=0, help="seconds to wait for routers to stop and folds to catch up; else no limit"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before it begins")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be copied, and write nothing")] = False,
    json: AsJson = False,
) -> None:
    """Spread the journal's customers over more partitions, in place: positions, decisions and connectors go on.

    Copies are made under load. Then routers and coordinator stop for some seconds, interactions wait in their topic
    meanwhile, and folds go on. After a crash the same command goes on where it was. It cannot be taken back.
    """
    from agents import documents, splitting

    documents.check_approver(by)
    settings = connect.kafka_settings()
    say = (lambda _: None) if json else typer.echo
    with connect.explained(settings):
        found = asyncio.run(splitting.plan(settings, to))
        if found.placement.partitions == to:
            _tell_done(to, as_json=json)
            return
        if dry_run:
            with bar("journal") as told:
                copies = asyncio.run(splitting.rehearse(settings, found, to, told))
            if json:
                context.print_json({"partitions": to, "copies": {str(number): n for number, n in copies.items()}})
                return
            for number, n in copies.items():
                typer.echo(
                    f"partition {number}: {n:,} records would be copied from {number % found.placement.partitions}"
                )
            return
        if not yes and found.placement.copying_to is None:
            typer.confirm(
                f"spread the customers of {found.placement.partitions} partitions over {to}? It cannot be taken back",
                abort=True,
                err=True,
            )
        with bar("copies") as told:
            done = asyncio.run(splitting.split(settings, found, to, approved_by=by, wait=wait, say=say, told=told))
    if json:
        context.print_json(
            {"partitions": done.partitions, "copied": done.copied, "paused_seconds": round(done.paused_seconds, 2)}
        )
        return
    typer.echo(
        f"customers are spread over {done.partitions} partitions; {done.copied:,} records were copied by this run, and "
        f"nobody could write for {done.paused_seconds:.1f} s; start the routers and the coordinator again"
    )


@app.command("status", epilog="Example: attune journal status --json")
def status(*, json: AsJson = False) -> None:
    """Show over how many partitions customers are spread, how many there are, and how far a split is."""
    from agents import splitting

    settings = connect.kafka_settings()
    with connect.explained(settings):
        found = asyncio.run(splitting.status(settings))
    if json:
        context.print_json(found)
        return
    typer.echo(
        f"customers are spread over {found['partitions']} partitions; the journal has {found['existing']} and the "
        f"changelog {found['changelog']}"
    )
    if found["copying_to"] is not None:
        typer.echo(
            f"a split to {found['copying_to']} is under way, {found['left']:,} records are left to look at"
            + ("; routers and coordinator must not run until it is done" if found["closed"] else "")
        )
        typer.echo(f"  next: `attune journal split --to {found['copying_to']}` goes on where it was")


def _tell_done(partitions: int, *, as_json: bool) -> None:
    if as_json:
        context.print_json({"partitions": partitions, "copied": 0, "paused_seconds": 0.0})
        return
    typer.echo(f"customers are spread over {partitions} partitions already")
