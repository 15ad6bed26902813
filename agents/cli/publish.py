"""`attune publish`: interactions from a file, as a channel publishes them."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from agents.cli import connect, context
from agents.cli.bar import Told, bar
from agents.errors import AttuneError, UsageError
from agents.settings import Settings, variable

app = typer.Typer()


@app.command(
    "publish",
    epilog="Examples: `attune publish calls.jsonl`, `zcat old.gz | attune publish - --skip-bad --pace 500`; a line is "
    '{"key": "loyalty:4711", "type": "purchase.made", "event_id": "r-1", "occurred_at": "2026-01-31T09:15:00Z", '
    '"amount_minor": 4299, "currency": "EUR"}',
)
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines; - reads standard input")],
    *,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="publish the good lines and list the bad ones")] = False,
    pace: Annotated[float | None, typer.Option(min=0.001, help="interactions a second; no limit if left out")] = None,
    watermarks: Annotated[
        bool, typer.Option("--watermarks/--no-watermarks", help="publish the file's own clock too: for old data")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only check the file; no Kafka is needed")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Publish interactions from a file, one JSON object a line. Where a line is bad nothing is published: exit 1.

    Beside `key`, the customer's identifier as `namespace:value`, a line has the fields of the schema Interaction:
    type, event_id and occurred_at are needed, the others have defaults.
    """
    from agents.cli import publish_text
    from agents.inbound import interaction_file

    settings = context.load(connect=False)
    if watermarks and settings.journal.clock != "watermarks":
        raise UsageError(
            "watermarks would be refused: this journal's clock is the coordinator's",
            f"leave --watermarks out, or set {variable('journal.clock')}=watermarks for every worker of a journal "
            "that holds old data only",
        )
    latest_ms = _latest_ms(settings)
    with _opened(file) as lines:
        size = _size(lines)
        with bar("checking") as told:
            checked = interaction_file.check(lines, latest_ms=latest_ms, on_progress=_of(told, size))
        publish_text.warn_of_undeclared(checked.undeclared)
        sent: Any = None
        if not dry_run and (skip_bad or not checked.bad) and checked.good:
            lines.seek(0)
            items = interaction_file.items(lines, latest_ms=latest_ms)
            with bar("publishing") as told:
                sent = _send(items, pace=pace, watermarks=watermarks, told=_of(told, checked.good))
    if sent is not None and sent.count != checked.good:
        raise AttuneError(
            f"{file} changed while it was read: {sent.count:,} interactions were published, {checked.good:,} were "
            "checked",
            "publish it again when it is complete: what was published before counts once",
        )
    refused = checked.bad > 0 and not skip_bad
    if json:
        context.print_json(publish_text.plain(file, checked, sent, dry_run=dry_run))
    else:
        publish_text.report(file, checked, sent, refused=refused, dry_run=dry_run)
    raise typer.Exit(1 if refused else 0)


def _latest_ms(settings: Settings) -> int:
    """Return the latest time that the fold will not refuse; data with a clock of its own may lie in any year."""
    from streams.clock import AHEAD_MS, LATEST_MS

    return LATEST_MS if settings.journal.clock == "watermarks" else int(time.time() * 1000) + AHEAD_MS


def _of(told: Told | None, total: int) -> Callable[[int], None] | None:
    return None if told is None else lambda done: told(done, total)


def _send(items: Iterator[Any], *, pace: float | None, watermarks: bool, told: Callable[[int], None] | None) -> Any:
    from agents.inbound.publisher import WATERMARK_MS, publish
    from schemas import topics

    settings = connect.kafka_settings()

    async def send() -> Any:
        from agents.cli.partitions import partitions
        from agents.clients import kafka

        counts = await partitions(settings, topics.INTERACTIONS)
        codec = await _codec(settings)
        producer = kafka.producer(settings.kafka, linger_ms=5)
        try:
            await producer.start()
            return await publish(
                producer,
                items,
                topic=topics.INTERACTIONS,
                partitions=counts[topics.INTERACTIONS],
                pace=pace,
                watermark_ms=WATERMARK_MS if watermarks else None,
                codec=codec,
                on_progress=told,
            )
        finally:
            await producer.stop()

    with connect.explained(settings):
        return asyncio.run(send())


async def _codec(settings: Settings) -> Any:
    from schemas.catalogue import CATALOGUE
    from schemas.codec import EMBEDDED
    from schemas.errors import RegistryRefused
    from schemas.registry import publish_all

    registry = connect.remote_registry(settings)
    if registry is None:
        return EMBEDDED
    try:
        async with registry:
            return await publish_all(registry, CATALOGUE.subjects())
    except RegistryRefused as error:
        raise AttuneError(
            str(error), "see which schemas the registry at registry.url holds, and who else registers there"
        ) from error


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open what can be read twice: the file, or a copy of a pipe."""
    if str(file) != "-" and (file.is_dir() or not file.exists()):
        raise UsageError(f"{file} is {'a folder' if file.is_dir() else 'not there'}", "name a file of JSON lines, or -")
    if str(file) != "-" and file.is_file():
        with file.open("rb") as source:
            yield source
        return
    with tempfile.TemporaryFile() as copy:
        if str(file) == "-":
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with file.open("rb") as pipe:
                shutil.copyfileobj(pipe, copy)
        copy.seek(0)
        yield copy


def _size(lines: IO[bytes]) -> int:
    end = lines.seek(0, 2)
    lines.seek(0)
    return end
