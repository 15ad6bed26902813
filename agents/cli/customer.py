"""`attune customer`: what is known of one customer, and why nothing is sent to them."""

import asyncio
from typing import Annotated

import typer

from agents.cli import connect, context
from agents.cli.bar import bar

app = typer.Typer(no_args_is_help=True, help="Customers: state, risk, suppressions, actions in flight.")


@app.callback()
def group() -> None:
    """Work with customers."""


@app.command(
    "show",
    epilog="Examples: `attune customer show loyalty:4711`, `attune customer show loyalty:4711 --json`",
)
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="`namespace:value`, or a surrogate of 32 hex digits")],
    *,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show the state of one customer, as the journal has it at its present end. Exit 1 for an unknown one.

    The customer's journal partition is folded from its first record, by the same code as in the workers; `attune as-of`
    does so up to an earlier position, and explains.
    """
    from agents.cli.customers import surrogate_of
    from agents.cli.looking_up import look_up
    from agents.history.as_of import Place

    settings = connect.kafka_settings()
    customer = surrogate_of(settings, key)
    with connect.explained(settings), bar("folding the journal partition") as told:
        found, profile = asyncio.run(look_up(settings, customer, Place(), told))
    journal = {"partition": found.tp.partition, "position": found.end - 1, "dead_letters": found.refused}
    shown = {**profile, "journal": journal}
    if json:
        context.print_json(shown)
    else:
        from agents.cli.customer_text import print_customer

        print_customer(shown)
