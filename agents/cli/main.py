"""The command `attune`: one typer application, a module for each noun."""

import importlib.metadata
import sys
from typing import Annotated

import typer

from agents.cli import (
    acls,
    api,
    as_of,
    connector,
    customer,
    demo,
    dlq,
    doctor,
    exporter,
    journal,
    lag,
    local,
    logic,
    model,
    policy,
    prove,
    publish,
    registry,
    replay,
    settings_list,
    topics,
    topology,
    views,
    worker,
)
from agents.errors import AttuneError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Customer interactions from Kafka into state, churn risk, suppressions and next best actions.",
)
app.add_typer(worker.app)
app.add_typer(api.app)
app.add_typer(publish.app)
app.add_typer(customer.app, name="customer")
app.add_typer(as_of.app)
app.add_typer(replay.app)
app.add_typer(prove.app)
app.add_typer(doctor.app)
app.add_typer(lag.app)
app.add_typer(exporter.app)
app.add_typer(dlq.app, name="dlq")
app.add_typer(views.app, name="views")
app.add_typer(demo.app)
app.add_typer(connector.app)
app.add_typer(local.app, name="local")
app.add_typer(topics.app, name="topics")
app.add_typer(registry.app, name="registry")
app.add_typer(acls.app)
app.add_typer(model.app, name="model")
app.add_typer(logic.app, name="logic")
app.add_typer(journal.app, name="journal")
app.add_typer(policy.app, name="policy")
app.add_typer(settings_list.app)
app.add_typer(topology.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("attune-streams"))
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Turn customer interactions from Kafka into state, churn risk, suppressions and next best actions."""
    del version


def main() -> None:
    """Run the command line: exit 0 when it worked, 1 when it failed, 2 when it was used wrongly."""
    try:
        app()
    except AttuneError as error:
        sys.stderr.write(f"attune: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  next: {error.hint}\n")
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
