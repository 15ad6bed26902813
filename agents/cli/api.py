"""`attune api`: the HTTP service that reads the views."""

from collections.abc import AsyncIterator
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
        sources=all_sources,
        stale_seconds=settings.views.stale_seconds,
        redis_seconds=settings.api.redis_seconds,
        wall_clock=settings.journal.clock == "wall",
    )


def sources_of(customer: str, stored: Any) -> Any:
    """Return the sources of a customer's state, actions and suppressions, the one that has the state now first.

    What stands in the store says how many partitions there are. Until it does nothing is certain: the sources are then
    those by the catalogue, and stale.
    """
    from agents.api.answers import Sources
    from agents.engine.job import by_crc32
    from agents.view import homes, source
    from schemas import topics

    counts, reasons = _counts(stored)
    numbers = homes(customer, counts[topics.FOLD_CHANGELOG], stored.marks)
    outputs = (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)
    names = (
        *(source(topics.FOLD_CHANGELOG, number) for number in numbers),
        *(source(topic, by_crc32(topic, customer.encode(), counts[topic])) for topic in outputs),
    )
    return Sources(names, numbers[0], reasons)


def all_sources(stored: Any) -> Any:
    """Return every source that there must be, and whatever else is marked."""
    from agents.api.answers import Sources
    from agents.view import source, spread
    from schemas import topics

    counts, reasons = _counts(stored)
    counts = {**counts, topics.FOLD_CHANGELOG: spread(counts[topics.FOLD_CHANGELOG], stored.marks)}
    names = [source(topic, number) for topic, count in counts.items() for number in range(count)]
    return Sources(tuple(dict.fromkeys((*names, *stored.marks))), -1, reasons)


def _counts(stored: Any) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return by topic over how many partitions the views were made, and what is lacking for that to be certain."""
    from agents.views.sources import READ
    from schemas.catalogue import CATALOGUE

    lacking = [topic for topic in READ if topic not in stored.partitions]
    reasons = tuple(
        f"{topic}: a view agent of this release has not said how many partitions it has" for topic in lacking
    )
    return {**{topic: CATALOGUE.topics[topic].partitions for topic in READ}, **stored.partitions}, reasons
