"""`attune local`: a real Kafka, a real Valkey and, where it is asked for, a schema registry on this machine."""

import dataclasses
from collections import deque
from typing import Annotated

import typer
from rich.table import Table

from agents.cli import context, printed
from agents.platform.local import LocalPlatform, Status
from agents.settings import variable

app = typer.Typer(no_args_is_help=True, help="A real Kafka and a real Valkey on this machine, without Docker.")

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def _platform() -> LocalPlatform:
    return LocalPlatform(context.load(connect=False).home)


def _show(status: Status, *, as_json: bool) -> None:
    if as_json:
        context.print_json({**dataclasses.asdict(status), "running": status.running})
        return
    if status.bootstrap.endswith(":0"):
        typer.echo(f"nothing was set up under {status.home} yet; `attune local up` does")
        return
    table = Table(show_header=False, box=None)
    table.add_row("kafka", status.bootstrap, f"pid {status.kafka_pid}" if status.kafka_pid else "stopped")
    table.add_row("valkey", status.redis_url, f"pid {status.valkey_pid}" if status.valkey_pid else "stopped")
    if status.registry_url is not None:
        table.add_row(
            "registry", status.registry_url, f"pid {status.registry_pid}" if status.registry_pid else "stopped"
        )
    table.add_row("data", status.home, "")
    printed.table(table)


@app.command("up", epilog="Example: attune local up && attune topics apply && attune worker")
def up(
    *,
    registry: Annotated[
        bool, typer.Option("--registry", help="a schema registry too (Apicurio, the first time 160 MB)")
    ] = False,
    json: AsJson = False,
) -> None:
    """Start both servers in the background; the first time Kafka's jars are downloaded (45 MB)."""
    status = _platform().start(detached=True, registry=registry)
    _show(status, as_json=json)
    if json:
        return
    typer.echo("commands of Attune find Kafka and Valkey by themselves; next: attune topics apply")
    if status.registry_url is not None:
        typer.echo(
            f"the registry is used where {variable('registry.url')}={status.registry_url} is set; next with it: "
            "attune registry publish"
        )


@app.command("status", epilog="Example: attune local status --json")
def status(*, json: AsJson = False) -> None:
    """Say what runs and where; exit 1 if something does not."""
    found = _platform().status()
    _show(found, as_json=json)
    raise typer.Exit(0 if found.complete else 1)


@app.command("logs", epilog="Example: attune local logs --lines 100")
def logs(*, lines: Annotated[int, typer.Option(min=1, help="how many from the end of each")] = 30) -> None:
    """Show the end of the servers' logs."""
    for path in _platform().logs:
        typer.echo(f"--- {path}")
        if path.exists():
            with path.open(errors="replace") as file:
                typer.echo("".join(deque(file, lines)), nl=False)


@app.command("down", epilog="Example: attune local down")
def down(*, json: AsJson = False) -> None:
    """Stop all servers; their data stays under the home folder."""
    platform = _platform()
    ran = platform.stop()
    if json:
        context.print_json({"stopped": ran})
    else:
        typer.echo("stopped" if ran else f"nothing ran under {platform.folder.parent}")
