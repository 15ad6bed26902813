"""`attune topics`: the topic catalogue against the cluster."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from agents.cli import context

app = typer.Typer(no_args_is_help=True, help="Plan, create and check the topics of the catalogue.")

Replication = Annotated[
    int | None,
    typer.Option(min=1, help="copies of every topic, instead of the catalogue's; 1 on a single broker"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command(epilog="Example: `attune topics plan --replication 1`")
def plan(*, replication: Replication = None, json: AsJson = False) -> None:
    """Show what `apply` would create or change, and what it would leave alone. Changes nothing."""
    from agents.ops import topics

    found = _run(topics.compare, replication)
    _print(found, json=json, none="every topic is as the catalogue says; nothing to do")


@app.command(epilog="Example: `attune topics apply`, again after each change of the catalogue")
def apply(*, replication: Replication = None, json: AsJson = False) -> None:
    """Create missing topics and set configurations that differ. Exit 1 when something else differs."""
    from agents.ops import topics

    done = _run(topics.apply, replication)
    left = _run(topics.compare, replication)
    if json:
        context.print_json({"applied": _plain(done), "differences": _plain(left), "ok": not left})
    else:
        typer.echo(f"{len(done)} changes made")
        _print(left, json=False, none="every topic is as the catalogue says")
    raise typer.Exit(1 if left else 0)


@app.command(epilog="Example: `attune topics check --json` in a deployment's pipeline")
def check(*, replication: Replication = None, json: AsJson = False) -> None:
    """Say what differs from the catalogue: partitions, replication, cleanup, retention. Exit 1 when anything does."""
    from agents.ops import topics

    found = _run(topics.compare, replication)
    _print(found, json=json, none="every topic is as the catalogue says")
    raise typer.Exit(1 if found else 0)


def _run(work: Callable[..., Awaitable[list[Any]]], replication: int | None) -> list[Any]:
    from aiokafka.errors import KafkaError

    from agents.clients import kafka
    from agents.errors import AttuneError
    from schemas.catalogue import CATALOGUE

    settings = context.load(connect=False)
    if settings.kafka.bootstrap is None:
        settings = context.attached(settings)
    copies = settings.kafka.replication_factor if replication is None else replication

    async def with_client() -> list[Any]:
        admin = kafka.admin(settings.kafka)
        try:
            await admin.start()
            return await work(admin, CATALOGUE, replication=copies)
        except KafkaError as error:
            raise AttuneError(
                f"Kafka at {settings.kafka.bootstrap} did not answer as it should: {error}",
                "see that it runs and that kafka.bootstrap and its TLS and SASL settings are right",
            ) from error
        finally:
            await admin.close()

    return asyncio.run(with_client())


def _print(found: list[Any], *, json: bool, none: str) -> None:
    if json:
        context.print_json({"differences": _plain(found), "ok": not found})
        return
    for difference in found:
        typer.echo(str(difference))
    typer.echo(f"{len(found)} differences" if found else none)


def _plain(found: list[Any]) -> list[dict[str, Any]]:
    return [{**dataclasses.asdict(item), "appliable": item.appliable} for item in found]
