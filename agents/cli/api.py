"""`attune api`: the HTTP service that reads the views."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from agents.cli import context
from agents.settings import Settings

app = typer.Typer()


@app.command(
    "api",
    epilog="Example: `attune api --port 8080`, then `curl http://127.0.0.1:8080/v1/customers/loyalty:4711/actions`",
)
def api(
    *,
    host: Annotated[str | None, typer.Option(help="address to listen on; any but loopback needs api.token")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0 takes any free one")] = None,
) -> None:
    """Serve customers, actions and suppressions from Redis over HTTP until SIGTERM or Ctrl-C; needs no Kafka."""
    from agents import metrics
    from agents.api import serve
    from agents.api.app import create
    from agents.api.watch import Watch

    flags = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = context.load(connect=False, **({"api": flags} if flags else {}))
    if settings.views_url is None:
        settings = context.attached(settings)
    watch = Watch()
    application = create(service(settings), watch)
    listening = serve.bound(settings.api.host, settings.api.port, token=settings.api.token is not None)
    with listening, metrics.served(settings.metrics, "api", watch.seconds):
        typer.echo(
            f"the views are served on {serve.url(listening)}/v1/customers/KEY, described in /openapi.json", err=True
        )
        serve.server(application).run(sockets=[listening])


def service(settings: Settings) -> Any:
    """Return what the application is made of, by the settings."""
    from agents.api.app import Service
    from agents.clients import valkey
    from agents.clients.viewstore import ViewStore
    from agents.view import source
    from agents.views.sources import READ
    from schemas.catalogue import CATALOGUE

    @asynccontextmanager
    async def views() -> AsyncIterator[ViewStore]:
        async with valkey.client(settings.views_url, seconds=settings.api.redis_seconds) as client:
            yield ViewStore(client)

    token = settings.api.token
    return Service(
        views=views,
        secret=settings.identity_secret(),
        token=None if token is None else token.get_secret_value(),
        sources_of=sources_of,
        sources=tuple(source(name, number) for name in READ for number in range(CATALOGUE.topics[name].partitions)),
        stale_seconds=settings.views.stale_seconds,
        redis_seconds=settings.api.redis_seconds,
        wall_clock=settings.journal.clock == "wall",
    )


def sources_of(customer: str, marks: Iterable[str]) -> tuple[int, tuple[str, str, str]]:
    """Return the journal partition of a customer and the sources of state, actions and suppressions.

    There are as many partitions as there are marks of them, at least as many as the catalogue says: a journal is split.
    """
    from agents.engine.job import by_crc32
    from agents.view import source
    from schemas import identity, topics
    from schemas.catalogue import CATALOGUE

    counts = dict.fromkeys((topics.FOLD_CHANGELOG, topics.NEXT_BEST_ACTIONS), 0)
    for mark in marks:
        topic = mark.rpartition("/")[0]
        if topic in counts:
            counts[topic] += 1
    states, outputs = (max(count, CATALOGUE.topics[topic].partitions) for topic, count in counts.items())
    number = identity.journal_partition(customer, states)
    output = by_crc32("", customer.encode(), outputs)
    return number, (
        source(topics.FOLD_CHANGELOG, number),
        source(topics.NEXT_BEST_ACTIONS, output),
        source(topics.SUPPRESSIONS, output),
    )
