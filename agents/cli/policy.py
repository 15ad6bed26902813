"""`attune policy`: policy packs of marketing."""

from pathlib import Path
from typing import Annotated

import typer

from agents.cli import context, publishing

app = typer.Typer(no_args_is_help=True, help="Policy packs: what may be proposed to whom.")

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.callback()
def group() -> None:
    """Work with policy packs."""


@app.command("check", epilog="Example: attune policy check schemas/packs/retail.yaml")
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a policy pack (YAML)")],
    *,
    json: AsJson = False,
) -> None:
    """Check a pack and say all that is wrong, each with line and column. Exit 1 when anything is."""
    from dataclasses import asdict

    from schemas.policy import InvalidPolicy, Policy
    from schemas.policy_reader import read_policy

    policy: Policy | None = None
    faults = []
    try:
        policy = read_policy(file.read_bytes())
    except InvalidPolicy as error:
        faults = error.faults
    errors, lines = [asdict(fault) for fault in faults], [f"{file}:{fault}" for fault in faults]
    publishing.tell_checked(file, policy, "actions", errors, lines, as_json=json)


@app.command("publish", epilog="Example: attune policy publish schemas/packs/retail.yaml --by ann")
def publish(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a policy pack (YAML)")],
    *,
    by: Annotated[str, typer.Option("--by", help="who approves it; stands in the log")],
    json: AsJson = False,
) -> None:
    """Check a pack, publish it and approve it; every fold applies it at its activation in the journal."""
    publishing.publish("policy", file, by, as_json=json)


@app.command("list", epilog="Example: attune policy list --json")
def show(*, json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """List every published version, who approved it, and which one decides."""
    publishing.show_versions("policy", as_json=json)


@app.command(
    "rollback", epilog="Examples: `attune policy rollback --by ann`, `attune policy rollback --to retail/3 --by ann`"
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
    publishing.roll_back("policy", to, by, as_json=json)


@app.command("variables", epilog="Example: attune policy variables --json")
def variables(*, json: AsJson = False) -> None:
    """List what a condition may refer to: every field with its type and what it says."""
    from schemas.policy_variables import VARIABLES

    if json:
        context.print_json(
            {
                "variables": [
                    {"name": name, "type": variable.type.name.lower(), "says": variable.says}
                    for name, variable in VARIABLES.items()
                ]
            }
        )
        return
    width = max(map(len, VARIABLES))
    for name, variable in VARIABLES.items():
        typer.echo(f"{name:<{width}}  {variable.type.name.lower():<6}  {variable.says}")
