"""`attune views`: the views in Redis and the topic of states - how fresh, made anew, compared with the log."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated, Any

import typer

from agents.cli import connect, context
from agents.cli.bar import Told, bar
from agents.errors import AttuneError
from agents.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Views: what the fold wrote, by customer, in Redis and in a topic.")

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command(epilog="Examples: `attune views status`, `attune views status --json`; exit 1 while anything is stale")
def status(*, json: AsJson = False) -> None:
    """Show how fresh each partition of the views is, how far it is behind, and how many customers there are."""
    from agents.cli import views_text

    settings = context.load()
    with explained(settings):
        found = asyncio.run(_status(settings))
    if json:
        context.print_json(found)
    else:
        views_text.print_status(found)
    raise typer.Exit(1 if found["stale"] else 0)


@app.command(epilog="Example: `attune views rebuild`, also while the agents run")
def rebuild(*, json: AsJson = False) -> None:
    """Rebuild Redis and the topic of states from the log, and switch to them at once when they are whole.

    Until then the old views are served. Agents may run: they go on with the new ones by themselves.
    """
    settings = context.load()
    with explained(settings), bar("reading the log") as told:
        done = asyncio.run(_rebuild(settings, told))
    if json:
        context.print_json(done)
        return
    typer.echo(
        f"{done['customers']:,} customers in {done['seconds']:.1f} s; {done['published']:,} records of the topic "
        f"differed and were written again; generation {done['generation']} is in use"
    )


@app.command(epilog="Example: `attune views check --wait 30 --json`; exit 1 when anything differs")
def check(
    *,
    wait: Annotated[float, typer.Option(min=0, help="seconds in which what differs may still settle")] = 10.0,
    json: AsJson = False,
) -> None:
    """Fold the journal again and compare Redis and the topic of states with what comes out."""
    from agents.cli import views_text

    settings = context.load()
    with explained(settings), bar("folding the journal") as told:
        found = asyncio.run(_check(settings, wait, told))
    if json:
        context.print_json(found)
    else:
        views_text.print_check(found)
    raise typer.Exit(1 if found["differences"] else 0)


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn errors of Kafka and of the store into ones that say what to do."""
    from agents.view import Away, Moved

    with connect.explained(settings):
        try:
            yield
        except Away as error:
            raise AttuneError(
                str(error), "see that it runs and that views.redis_url or redis.url is right (`attune settings`)"
            ) from error
        except Moved as error:
            raise AttuneError(str(error), "run the command again") from error


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Any]:
    from agents.clients import valkey
    from agents.clients.viewstore import ViewStore

    async with valkey.client(settings.views_url) as client:
        yield ViewStore(client)


async def _in_use(store: Any) -> str:
    generation = await store.generation()
    if generation is None:
        raise AttuneError("there are no views yet", "start `attune worker views`, or run `attune views rebuild`")
    return str(generation)


async def _status(settings: Settings) -> dict[str, Any]:
    from agents.cli.partitions import partitions
    from agents.cli.views_status import status as look
    from agents.clients import kafka
    from agents.views.sources import READ

    async with AsyncExitStack() as clients:
        store = await clients.enter_async_context(_store(settings))
        generation = await _in_use(store)
        consumer = await _started(clients, kafka.consumer(settings.kafka))
        counts = await partitions(settings, *READ)
        return await look(store, generation, consumer, counts, settings.views.stale_seconds)


async def _rebuild(settings: Settings, told: Told | None) -> dict[str, Any]:
    import dataclasses

    from agents.cli.folding import read_documents
    from agents.cli.partitions import partitions
    from agents.clients import kafka
    from agents.engine import changelog
    from agents.engine.job import by_crc32
    from agents.journal.documents import Documents
    from agents.views.documents import Derive
    from agents.views.rebuild import Log, rebuild
    from agents.views.sources import READ
    from schemas import topics

    documents = Documents()
    await read_documents(settings, documents)
    counts = await partitions(settings, *READ, topics.JOURNAL, topics.CUSTOMER_STATE)
    async with AsyncExitStack() as clients:
        store = await clients.enter_async_context(_store(settings))
        log = Log(
            reader=await _started(clients, kafka.consumer(settings.kafka)),
            topic_reader=await _started(clients, kafka.consumer(settings.kafka)),
            producer=await _started(clients, kafka.producer(settings.kafka, linger_ms=5)),
            counts=counts,
            fence_of=changelog.fence_of,
            watermark=changelog.WATERMARK,
            place=lambda key: by_crc32("", key, counts[topics.CUSTOMER_STATE]),
        )
        done = await rebuild(store, log, Derive(documents), None if told is None else lambda _, n, of: told(n, of))
    return dataclasses.asdict(done)


async def _check(settings: Settings, wait: float, told: Told | None) -> dict[str, Any]:
    from agents.cli.views_check import compare

    async with _store(settings) as store:
        return await compare(settings, store, await _in_use(store), wait, told)


async def _started(clients: AsyncExitStack, client: Any) -> Any:
    clients.push_async_callback(client.stop)
    await client.start()
    return client
