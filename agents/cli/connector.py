"""`attune connector`: the demo connector, from published topics to a local outbox."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from agents.cli import connect, context
from agents.settings import Settings

app = typer.Typer()

GROUP = "demo-connector"
_HOUR_MS = 3_600_000


@app.command("connector", epilog="Example: attune connector --delay-hours 6 --outbox outbox.jsonl")
def connector(
    *,
    outbox: Annotated[Path | None, typer.Option(help="file of deliveries; default: outbox.jsonl in the home")] = None,
    delay_hours: Annotated[
        float, typer.Option(min=0, max=8_760, help="how long an action is held, in event time")
    ] = 6.0,
    idle_flush: Annotated[
        float | None,
        typer.Option(
            min=0, max=86_400, help="let go what waits when nothing came for so many seconds: for data that ends"
        ),
    ] = None,
    status_file: Annotated[Path | None, typer.Option(help="write counts there as JSON")] = None,
) -> None:
    """Hold each action for a while, check suppressions again, deliver to a file, report as interactions."""
    settings = context.load()
    path = outbox or settings.home / "outbox.jsonl"
    with connect.explained(settings):
        asyncio.run(_run(settings, path, int(delay_hours * _HOUR_MS), idle_flush, status_file))


async def _run(
    settings: Settings, path: Path, delay_ms: int, idle_flush: float | None, status_file: Path | None
) -> None:
    from agents import acls, metrics
    from agents.clients import access, kafka
    from agents.outbound.connector import Connector
    from agents.outbound.outbox import Outbox

    group = acls.Grant(acls.Resource.GROUP, GROUP, (acls.Operation.READ,))
    await access.check(settings.kafka, "connectors", [group, *acls.needed_to_work("connectors")])
    outbox = Outbox(path)
    consumer = kafka.consumer(settings.kafka, group=GROUP)
    producer = kafka.producer(settings.kafka)
    try:
        await consumer.start()
        await producer.start()
        at_work = Connector(
            consumer=consumer,
            producer=producer,
            outbox=outbox,
            delay_ms=delay_ms,
            idle_flush_seconds=idle_flush,
            status_file=status_file,
        )
        settled = metrics.Counts(
            "attune_connector_actions", "Actions that were settled, by what became of them.", lambda: at_work.counts
        )
        with metrics.served(settings.metrics, "connector", settled):
            work = asyncio.ensure_future(at_work.run())
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, work.cancel)
            await asyncio.wait([work])
            if not work.cancelled():
                work.result()
    finally:
        await consumer.stop()
        await producer.stop()
        outbox.close()
