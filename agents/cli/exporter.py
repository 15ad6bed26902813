"""`attune exporter`: lag, topics, dead letters, decisions and latency of a cluster, for Prometheus."""

import asyncio
import signal
from collections.abc import Mapping
from typing import Annotated

import typer

from agents.cli import connect
from agents.settings import Settings

app = typer.Typer()

DEFAULT_PORT = 9308
"""That of kafka_exporter, whose names it serves."""


@app.command(
    "exporter",
    epilog="Examples: `attune exporter`, `attune exporter --port 9400 --interval 2`; then look at /metrics with curl.",
)
def exporter(
    *,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help=f"0: any free one; default: metrics.port, else {DEFAULT_PORT}"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on; default: metrics.host")] = None,
    interval: Annotated[
        float, typer.Option(min=0.5, max=3_600, help="seconds from one look at the cluster to the next")
    ] = 5.0,
    window: Annotated[
        float, typer.Option(min=5, max=86_400, help="seconds over which status and trend are judged")
    ] = 60.0,
) -> None:
    """Serve the metrics of a cluster until SIGTERM or Ctrl-C: any group's lag, topics, dead letters, decisions.

    One such process for a cluster is enough. While Kafka is away it says so in attune_exporter_up and waits.
    """
    settings = connect.kafka_settings()
    chosen = settings.metrics.port if port is None else port
    listen = settings.metrics.model_copy(
        update={"port": DEFAULT_PORT if chosen is None else chosen, "host": host or settings.metrics.host}
    )
    flags = {"host": "--host"} if host else {}
    if port is not None or chosen is None:
        flags["port"] = "--port"
    asyncio.run(_run(settings.model_copy(update={"metrics": listen}), interval, window, flags))


async def _run(settings: Settings, interval: float, window: float, flags: Mapping[str, str]) -> None:
    from prometheus_client.registry import REGISTRY

    from agents import metrics
    from agents.clients import kafka
    from agents.ops.exporter import Exporter

    at_work = Exporter(
        admin=lambda: kafka.admin(settings.kafka),
        # Of most partitions one record is read at a time: small fetches are enough.
        consumer=lambda: kafka.consumer(settings.kafka, max_partition_fetch_bytes=65_536),
        registry=REGISTRY,
        interval=interval,
        window_seconds=window,
    )
    with metrics.served(settings.metrics, "exporter", at_work, flags=flags):
        work = asyncio.ensure_future(at_work.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()
