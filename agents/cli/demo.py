"""`attune demo`: the main job on published sample data, from an empty machine to a summary."""

import asyncio
import signal
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from agents.cli import context

app = typer.Typer()


@app.command(
    "demo",
    epilog="Examples: `attune demo`; `attune demo --once --events 20000 --json` prints one JSON object and no more.",
)
def demo(
    *,
    events: Annotated[int, typer.Option(min=100, help="how many interactions to play")] = 20_000,
    pace: Annotated[
        float | None, typer.Option(min=1, help="interactions a second; as fast as possible if left out")
    ] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="first day of the data to play")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="no live view, also on a terminal")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")] = False,
    prove: Annotated[bool, typer.Option(help="run the oracle at the end")] = True,
    plant_fault: Annotated[bool, typer.Option("--plant-fault", hidden=True)] = False,
) -> None:
    """Play Complete Journey through a real Kafka: state, churn risk, suppressions, next best actions, proof.

    Exit 0 if the oracle held (or was not asked), 1 otherwise.
    """
    from agents.demo import run

    settings = context.load(connect=False, **({} if "ATTUNE_LOG_LEVEL" in _environment() else {"log_level": "WARNING"}))
    options = run.Options(
        events=events, pace=pace, start=None if start is None else start.date(), prove=prove, fault=plant_fault
    )
    stage = run.Stage()
    found = asyncio.run(_show(settings, options, stage, live=not (once or json) and sys.stdout.isatty()))
    if json:
        context.print_json(found)
    else:
        from agents.demo.view import summary

        typer.echo(summary(found, _typed()))
    raise typer.Exit(1 if found["oracle"]["held"] is False else 0)


def _typed() -> str:
    """Return how the user types this command."""
    import os
    import shutil

    return "attune" if shutil.which("attune") else os.path.relpath(sys.argv[0])


def _environment() -> Any:
    import os

    return os.environ


async def _show(settings: Any, options: Any, stage: Any, *, live: bool) -> dict[str, Any]:
    from agents.demo import run
    from agents.demo.view import View

    work = asyncio.ensure_future(run.run(settings, options, stage))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        if not live:
            return await work
        from rich.console import Console
        from rich.live import Live

        with Live(View(stage), console=Console(), refresh_per_second=4):
            return await work
    except asyncio.CancelledError:
        raise typer.Exit(130) from None
