"""`attune dlq`: list, show and redrive dead letters."""

import base64
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from agents.cli import context, printed
from agents.cli.dlq_session import Session, run
from agents.errors import AttuneError, UsageError

app = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be processed, why, and how to return it.")

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Topic = Annotated[str | None, typer.Option(help="interactions or journal; both if left out")]
Reason = Annotated[str | None, typer.Option(help="only where exception or message hold this text")]
First = Annotated[int | None, typer.Option(min=0, help="from this offset of the dead-letter topic")]
Last = Annotated[int | None, typer.Option(min=0, help="up to this offset of the dead-letter topic, inclusive")]


@app.command("list", epilog="Example: `attune dlq list --topic interactions --reason UnknownSchema`")
def list_letters(
    *,
    topic: Topic = None,
    reason: Reason = None,
    first: First = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, help="show so many, the newest")] = 50,
    json: AsJson = False,
) -> None:
    """List dead letters: id, time, where the record was, at which stage it failed and why."""
    from agents.ops import deadletters

    wanted = _filter(topic, reason, first, last)

    async def work(session: Session) -> tuple[int, list[Any]]:
        newest: deque[Any] = deque(maxlen=limit)
        total = 0
        async for letter in deadletters.read(session.cluster, wanted):
            total += 1
            newest.append(letter)
        return total, list(newest)

    total, letters = run(work)
    if json:
        context.print_json({"total": total, "letters": [letter.to_json() for letter in letters]})
        return
    _print_list(letters)
    if total > len(letters):
        typer.echo(f"the newest {len(letters)} of {total:,}; --limit shows more")
    elif not total:
        typer.echo("no dead letters")


@app.command(
    "show", epilog="Examples: `attune dlq show interactions/12`, `attune dlq show journal/3 --raw > value.bin`"
)
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="as `attune dlq list` shows it")],
    *,
    raw: Annotated[bool, typer.Option(help="write the original value, byte for byte, and nothing else")] = False,
    json: AsJson = False,
) -> None:
    """Show one dead letter with the record as it was; a sealed one is opened with the key store.

    It may show personal data: mind who sees your screen.
    """
    from agents.ops import deadletters

    deadletters.parse_id(letter)

    async def work(session: Session) -> tuple[Any, Any, Any]:
        found = await deadletters.one(session.cluster, letter)
        record = await deadletters.original(found, session.open)
        return found, record, await session.decoded(found, record)

    found, record, decoded = run(work)
    if raw:
        if record.value is None:
            raise AttuneError(f"{found.id}: the record had no value", "`attune dlq show` without --raw shows the rest")
        sys.stdout.buffer.write(record.value)
        sys.stdout.buffer.flush()
        if found.truncated is not None:
            sys.stderr.write(f"attune: these are the first {len(record.value):,} of {found.truncated:,} bytes\n")
        return
    plain = {
        **found.to_json(),
        "stacktrace": found.failure.stacktrace,
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
        "value_base64": None if record.value is None else base64.b64encode(record.value).decode(),
        "record": decoded,
    }
    if json:
        context.print_json(plain)
    else:
        _print_letter(plain, None if record.value is None else len(record.value))


@app.command(
    "redrive",
    epilog="Examples: `attune dlq redrive interactions/12`, `attune dlq redrive --reason UnknownSchema --dry-run`",
)
def redrive(
    letters: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="as `attune dlq list` shows")] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="every dead letter of the topics")] = False,
    topic: Topic = None,
    reason: Reason = None,
    first: First = None,
    last: Last = None,
    again: Annotated[bool, typer.Option(help="also those that were returned before")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    json: AsJson = False,
) -> None:
    """Return dead letters to the interactions, byte for byte. Exit 1 when one of them could not be returned.

    Put right first what was wrong: a record that fails again comes back here, and its header attune-redriven shows it.
    """
    from agents.ops import deadletters

    for text in letters or ():
        deadletters.parse_id(text)
    narrowed = any(option is not None for option in (topic, reason, first, last))
    if bool(letters) + (all_ or narrowed) != 1:
        raise UsageError(
            "say which dead letters: ids, or --all, or a filter (--topic, --reason, --first, --last)",
            "look first: `attune dlq redrive --all --dry-run`",
        )
    wanted = _filter(topic, reason, first, last)

    async def work(session: Session) -> list[dict[str, Any]]:
        found = (
            [await deadletters.one(session.cluster, text) for text in letters]
            if letters
            else [letter async for letter in deadletters.read(session.cluster, wanted)]
        )
        return [outcome async for outcome in _redrive(session, found, again=again, dry_run=dry_run)]

    outcomes = run(work)
    if json:
        counts = {name: sum(item["outcome"] == name for item in outcomes) for name in _OUTCOMES}
        context.print_json({"dry_run": dry_run, **counts, "letters": outcomes})
    else:
        for item in outcomes:
            typer.echo(f"{item['id']}: {_OUTCOMES[item['outcome']]}{item['words']}")
        typer.echo(f"{len(outcomes)} dead letters" + ("; nothing was sent" if dry_run else ""))
    raise typer.Exit(1 if any(item["outcome"] == "refused" for item in outcomes) else 0)


_OUTCOMES = {"returned": "returned to ", "planned": "would go to ", "skipped": "passed over: ", "refused": "refused: "}


async def _redrive(
    session: Session, letters: list[Any], *, again: bool, dry_run: bool
) -> AsyncIterator[dict[str, Any]]:
    from agents.ops.redrive import Redrive

    redriving = Redrive(session.cluster, session.open, session.frame_id)
    before = set() if again else await redriving.done(letters)
    for letter in letters:
        outcome: tuple[str, str]
        if letter.place in before:
            outcome = ("skipped", "it was returned before; --again returns it once more")
        else:
            try:
                planned = await redriving.plan(letter)
            except AttuneError as error:
                outcome = ("refused", f"{error.message.removeprefix(letter.id + ': ')}; {error.hint}")
            else:
                target = planned.topic if planned.partition is None else f"{planned.topic}/{planned.partition}"
                if dry_run:
                    outcome = ("planned", target)
                else:
                    outcome = ("returned", await redriving.send(await session.producer(), planned))
        yield {"id": letter.id, "outcome": outcome[0], "words": outcome[1], "redriven_before": letter.redriven}


def _filter(topic: str | None, reason: str | None, first: int | None, last: int | None) -> Any:
    from agents.ops.deadletters import TOPICS, Filter

    if topic is not None and topic not in {*TOPICS, *TOPICS.values()}:
        raise UsageError(f"{topic!r} has no dead letters", f"choose from {', '.join(TOPICS)}")
    chosen = tuple(TOPICS.values()) if topic is None else (TOPICS.get(topic, topic),)
    return Filter(topics=chosen, reason=reason, first=first, last=last)


def _text(value: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as text where they are UTF-8, else in base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _of(whole: int | None) -> str:
    """Say that this is the beginning of something longer."""
    return "" if whole is None else f" of {whole:,}"


def _print_list(letters: list[Any]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from agents.ops.deadletters import iso

    if not letters:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("id", "time", "was at", "stage", "returned", "why"):
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for letter in letters:
        found = letter.failure
        place = f"{found.topic}/{found.partition}/{found.offset}"
        why = f"{found.exception_class.rpartition('.')[2]}: {found.message}"
        table.add_row(
            escape(letter.id),
            iso(letter.appended_ms)[:19],
            escape(place),
            escape(found.stage),
            str(letter.redriven or ""),
            escape(why),
        )
    printed.table(table)


def _print_letter(plain: dict[str, Any], size: int | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    origin = plain["origin"]
    table = Table(show_header=False, box=None)
    rows = {
        "id": plain["id"],
        "time": plain["appended_at"],
        "kept until": plain["expires_at"],
        "was at": f"{origin['topic']}/{origin['partition']}/{origin['offset']}",
        "failed at": f"{plain['stage']} in {plain['class_name']}",
        "why": f"{plain['exception_class']}: {plain['reason']}",
        "sealed": "yes" if plain["sealed"] else "no",
        "returned before": str(plain["redriven"]),
        "key": str(plain["key"]) + _of(plain["truncated_key"]),
        "value": "none" if size is None else f"{size:,} bytes" + _of(plain["truncated"]),
        "headers": f"{len(plain['headers']):,}" + _of(plain["truncated_headers"]),
    }
    for name, text in rows.items():
        table.add_row(f"[bold]{name}[/bold]", escape(text or "-"))
    for name, value in plain["headers"]:
        table.add_row("[bold]header[/bold]", escape(f"{name} = {'(null)' if value is None else value}"))
    console = Console(soft_wrap=True)
    console.print(table)
    if plain["record"] is not None:
        console.print_json(data=plain["record"])
    if plain["stacktrace"]:
        console.print(plain["stacktrace"], markup=False, highlight=False)
