"""`attune topics`: the topic catalogue against the cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.cli import context, differences, generated
from agents.errors import UsageError

KAFKA_FILE = "topics.sh"
STRIMZI_FILE = "topics.strimzi.yaml"

app = typer.Typer(no_args_is_help=True, help="Plan, create and check the topics of the catalogue.")

Replication = Annotated[
    int | None,
    typer.Option(min=1, help="copies of every topic, instead of the catalogue's; 1 on a single broker"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


class Format(StrEnum):
    """For whom topics are written out."""

    KAFKA = "kafka"
    STRIMZI = "strimzi"
    JSON = "json"


@app.command(epilog="Example: `attune topics plan --replication 1`")
def plan(*, replication: Replication = None, json: AsJson = False) -> None:
    """Show what `apply` would create or change, and what it would leave alone. Changes nothing."""
    from agents.ops import topics

    found = _run(topics.compare, replication)
    differences.show(found, json=json, none="every topic is as the catalogue says; nothing to do")


@app.command(epilog="Example: `attune topics apply`, again after each change of the catalogue")
def apply(*, replication: Replication = None, json: AsJson = False) -> None:
    """Create missing topics and set configurations that differ. Exit 1 when something else differs."""
    from agents.ops import topics

    done = _run(topics.apply, replication)
    left = _run(topics.compare, replication)
    if json:
        context.print_json({"applied": differences.plain(done), "differences": differences.plain(left), "ok": not left})
    else:
        typer.echo(f"{len(done)} changes made")
        differences.show(left, json=False, none="every topic is as the catalogue says")
    raise typer.Exit(1 if left else 0)


@app.command(epilog="Example: `attune topics check --json` in a deployment's pipeline")
def check(*, replication: Replication = None, json: AsJson = False) -> None:
    """Say what differs from the catalogue: partitions, replication, cleanup, retention. Exit 1 when anything does."""
    from agents.ops import topics

    found = _run(topics.compare, replication)
    differences.show(found, json=json, none="every topic is as the catalogue says")
    raise typer.Exit(1 if found else 0)


@app.command(epilog="Examples: `attune topics export --format strimzi`, `attune topics export --write`")
def export(
    *,
    form: Annotated[
        Format, typer.Option("--format", help="commands for kafka-topics.sh, KafkaTopic manifests, or plain values")
    ] = Format.KAFKA,
    replication: Replication = None,
    cluster: Annotated[str, typer.Option(help="the Kafka resource that Strimzi's manifests name")] = "crm",
    write: Annotated[bool, typer.Option("--write", help="put the files of deploy/kafka right")] = False,
    stale: Annotated[bool, typer.Option("--check", help="exit 1 when a file of deploy/kafka is stale")] = False,
    folder: Annotated[
        Path, typer.Option(help="where --write and --check look", show_default="deploy/kafka")
    ] = generated.FOLDER,
    json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
) -> None:
    """Print the topics for other tools that make them. Needs no cluster."""
    from agents.ops import topic_formats
    from schemas.catalogue import CATALOGUE

    if write and stale:
        raise UsageError("--write and --check exclude each other", "check in a pipeline, write at your desk")
    if write or stale:
        files = {
            KAFKA_FILE: topic_formats.commands(CATALOGUE, replication),
            STRIMZI_FILE: topic_formats.manifests(CATALOGUE, replication, cluster=cluster),
        }
        generated.keep(files, folder, write=write, json=json, again="attune topics export --write")
    elif json or form is Format.JSON:
        context.print_json({"topics": topic_formats.plain(CATALOGUE, replication)})
    elif form is Format.STRIMZI:
        typer.echo(topic_formats.manifests(CATALOGUE, replication, cluster=cluster), nl=False)
    else:
        typer.echo(topic_formats.commands(CATALOGUE, replication), nl=False)


def _run(work: Callable[..., Awaitable[list[Any]]], replication: int | None) -> list[Any]:
    from aiokafka.errors import KafkaError

    from agents import documents
    from agents.clients import kafka
    from agents.errors import AttuneError
    from schemas import topics
    from schemas.catalogue import CATALOGUE

    settings = context.load(connect=False)
    if settings.kafka.bootstrap is None:
        settings = context.attached(settings)
    copies = settings.kafka.replication_factor if replication is None else replication

    async def with_client() -> list[Any]:
        admin = kafka.admin(settings.kafka)
        try:
            await admin.start()
            catalogue = CATALOGUE
            if topics.APPROVALS in await admin.list_topics():
                placed = await documents.journal_placement(settings)
                catalogue = CATALOGUE.split(topics.JOURNAL, max(placed.partitions, placed.copying_to or 0))
            return await work(admin, catalogue, replication=copies)
        except KafkaError as error:
            raise AttuneError(
                f"Kafka at {settings.kafka.bootstrap} did not answer as it should: {error}",
                "see that it runs and that kafka.bootstrap and its TLS and SASL settings are right",
            ) from error
        finally:
            await admin.close()

    return asyncio.run(with_client())
