"""`attune customer`: what is known of one customer, and why nothing is sent to them."""

import asyncio
from typing import Annotated, Any

import typer

from agents.cli import connect, context
from agents.cli.bar import Told, bar
from agents.errors import AttuneError, UsageError
from agents.settings import Settings

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

    The customer's journal partition is folded from its first record, by the same code as in the workers.
    """
    settings = connect.kafka_settings()
    surrogate = _surrogate(settings, key)
    with connect.explained(settings), bar("folding the journal partition") as told:
        found = asyncio.run(_look_up(settings, surrogate, told))
    if found is None:
        raise AttuneError(
            f"the journal knows no customer {surrogate}",
            "see that the key is written as the channels write it, that privacy.secret is the workers' "
            "(`attune settings`), and that the router is not behind (`attune lag`)",
        )
    if json:
        context.print_json(found)
    else:
        from agents.cli.customer_text import print_customer

        print_customer(found)


def _surrogate(settings: Settings, key: str) -> str:
    """Return the surrogate that a key means; the key itself goes nowhere else."""
    from schemas import identity

    if identity.is_surrogate(key):
        return key
    raw = key.encode("utf-8", "surrogateescape")
    secret = b"unused" if identity.is_surrogate_key(raw) else settings.identity_secret()
    try:
        return identity.customer_of_key(secret, raw)
    except identity.MalformedKey as error:
        raise UsageError(
            "KEY names no customer", "write `namespace:value`, e.g. loyalty:4711, or a surrogate of 32 hex digits"
        ) from error


async def _look_up(settings: Settings, surrogate: str, told: Told | None) -> dict[str, Any] | None:
    from aiokafka import TopicPartition

    from agents import topology
    from agents.cli.partitions import partitions
    from agents.clients import kafka
    from agents.engine.fold import Fold
    from agents.engine.restore import new_table
    from agents.history.lookup import fold_to_end
    from agents.history.profile import profile
    from agents.journal.documents import Documents
    from schemas import identity, topics
    from schemas.catalogue import CATALOGUE
    from streams.documents import Documents as Read
    from streams.partition import PARTITION_KEY

    documents = Documents()
    job = topology.fold_job(documents)
    table = new_table(job)
    fold = Fold(job, table, {name: CATALOGUE.topics[name].partitions for name in job.outputs})
    number = identity.journal_partition(surrogate, CATALOGUE.topics[job.source].partitions)
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        await partitions(settings, job.source, topics.POLICIES, topics.MODELS)

        async def prepare() -> None:
            reader = kafka.consumer(settings.kafka)
            try:
                await reader.start()
                await documents.read(reader)
            finally:
                await reader.stop()

        folded = await fold_to_end(consumer, TopicPartition(job.source, number), fold, prepare=prepare, progress=told)
    finally:
        await consumer.stop()
    customer = table.get(surrogate.encode())
    if customer is None:
        return None
    found = profile(surrogate, customer, table.get(PARTITION_KEY), Read(documents))
    return {**found, "journal": {"partition": number, "position": folded.position, "dead_letters": folded.refused}}
