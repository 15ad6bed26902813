"""`attune lag`: how far every group is behind."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from agents.cli import connect, context
from agents.settings import Settings

app = typer.Typer()

_SETTLE_SAMPLES = 10
_SETTLE_SECONDS = 0.3
_COLOURS = {"OK": "green", "WARN": "yellow", "STALL": "red", "STOP": "red"}
_ORDER = ("STOP", "STALL", "WARN", "OK")
"""With --watch the worst comes first: a low terminal shows the beginning."""

Look = Callable[[], Awaitable[list[Any]]]


@app.command("lag", epilog="Examples: `attune lag`, `attune lag --group attune-fold --watch`, `attune lag --json`")
def lag(
    *,
    group: Annotated[list[str] | None, typer.Option(help="this group only; may be repeated")] = None,
    watch: Annotated[bool, typer.Option(help="look again and again until Ctrl-C")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="seconds between two looks, with --watch")] = 1.0,
    window: Annotated[float, typer.Option(min=1, help="seconds over which status and trend are judged")] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object, with --watch one a line")] = False,
) -> None:
    """Show committed and end offsets, lag in records and seconds, trend, status and members of every group.

    Where something is behind, it is looked at for three seconds, so that the status can tell slow from stuck.
    """
    settings = connect.kafka_settings()
    try:
        with connect.explained(settings):
            asyncio.run(_run(settings, group, watch=watch, interval=interval, window_seconds=window, json=json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _run(
    settings: Settings, groups: list[str] | None, *, watch: bool, interval: float, window_seconds: float, json: bool
) -> None:
    from agents.clients import kafka
    from agents.ops.lag import Window, group_lag

    window = Window(window_seconds)
    admin = kafka.admin(settings.kafka)
    # Of each lagging partition one record is read: small fetches are enough.
    consumer = kafka.consumer(settings.kafka, max_partition_fetch_bytes=16_384)

    async def look() -> list[Any]:
        return _known(await group_lag(admin, consumer, groups, window=window), asked=groups is not None)

    try:
        await admin.start()
        await consumer.start()
        if watch:
            await _watch(look, interval, json=json)
            return
        found = await look()
        for _ in range(_SETTLE_SAMPLES - 1):
            if all(item.lag == 0 for item in found):
                break
            await asyncio.sleep(_SETTLE_SECONDS)
            found = await look()
        _show(found, json=json)
    finally:
        await consumer.stop()
        await admin.close()


async def _watch(look: Look, interval: float, *, json: bool) -> None:
    """Show look after look; a cluster that does not answer is told and asked again."""
    from rich.console import Console
    from rich.live import Live

    if json or not Console().is_terminal:
        while True:
            found, trouble = await _attempt(look)
            if trouble is None:
                _show(found, json=json)
            elif json:
                context.print_json({"at_ms": int(time.time() * 1000), "error": trouble})
            else:
                sys.stderr.write(f"{trouble}\n")
            await asyncio.sleep(interval)
    last: list[Any] = []
    with Live(auto_refresh=False) as live:
        while True:
            found, trouble = await _attempt(look)
            last = last if found is None else sorted(found, key=lambda item: _ORDER.index(item.status.value))
            live.update(_table(last, note=trouble or time.strftime("%H:%M:%S  Ctrl-C ends")), refresh=True)
            await asyncio.sleep(interval)


async def _attempt(look: Look) -> tuple[Any, str | None]:
    """Return what a look found, or what came in its way."""
    from aiokafka.errors import KafkaError

    try:
        return await look(), None
    except (KafkaError, OSError) as error:
        return (
            None,
            f"{time.strftime('%H:%M:%S')}  Kafka does not answer ({error or type(error).__name__}); asking again",
        )


def _known(found: list[Any], *, asked: bool) -> list[Any]:
    from agents.errors import AttuneError

    for item in found:
        if asked and item.state == "Dead" and not item.partitions:
            raise AttuneError(
                f"there is no group {item.group}", "`attune lag` lists all; a group exists once it has joined"
            )
    return found


def _show(found: Sequence[Any], *, json: bool) -> None:
    from rich.console import Console

    if json:
        context.print_json({"at_ms": int(time.time() * 1000), "groups": [item.to_json() for item in found]})
    else:
        Console().print(_table(found) if found else "no group has joined or committed yet")


def _table(found: Sequence[Any], note: str | None = None) -> Any:
    """Return for each group a headline, its members by number, and a small table for each of its topics.

    In 80 columns nothing is cut: members have lines of their own, and the tables name them by their numbers.
    """
    from rich.console import Group
    from rich.markup import escape

    shown: list[Any] = [] if note is None else [f"[dim]{escape(note)}[/dim]"]
    for item in found:
        members = "1 member" if len(item.members) == 1 else f"{len(item.members)} members"
        status = _paint(_COLOURS[item.status.value], item.status)
        shown.append(
            f"[bold]{escape(item.group)}[/bold]  {status}  {item.lag:,} behind, {item.seconds:.1f} s  "
            f"({item.state}, {members})"
        )
        shown += [_member_line(number, member) for number, member in enumerate(item.members, start=1)]
        numbers = {member.member_id: number for number, member in enumerate(item.members, start=1)}
        topics = dict.fromkeys(row.topic for row in item.partitions)
        shown += [
            _topic_table(topic, [row for row in item.partitions if row.topic == topic], numbers) for topic in topics
        ]
    return Group(*shown)


def _member_line(number: int, member: Any) -> Any:
    """Say where a member runs and how Kafka calls it; client and member share their beginning, mostly."""
    from rich.padding import Padding
    from rich.text import Text

    name = (
        member.member_id if member.member_id.startswith(member.client_id) else f"{member.client_id} {member.member_id}"
    )
    return Padding(Text(f"member {number}: {name} at {member.host}", overflow="fold"), (0, 0, 0, 2))


def _topic_table(topic: str, rows: Sequence[Any], members: Mapping[str, int]) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"  {escape(topic)}"
    # Without padding: offsets of billions, hours of lag and a member fit into 80 columns.
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="", padding=0)
    for name in ("part", "committed", "end", "lag", "seconds", "trend"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("member", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.partition),
            _number(row.committed),
            _number(row.end),
            _number(row.lag),
            "-" if row.seconds is None else f"{row.seconds:.1f}",
            _trend(row.trend),
            _paint(_COLOURS[row.status.value], row.status),
            "-" if row.member is None else str(members[row.member.member_id]),
        )
    return table


def _paint(colour: str, status: Any) -> str:
    return f"[{colour}]{status.value}[/{colour}]"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _trend(value: float | None) -> str:
    """Write by how many records a second the lag grows or shrinks."""
    if value is None or abs(value) < 0.05:
        return ""
    return f"{'▲' if value > 0 else '▼'} {abs(value):,.1f}/s"
