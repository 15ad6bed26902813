"""`attune as-of`: one customer at one position of the journal, why it was so, and a hash of what it rests on."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli import connect, context
from agents.cli.bar import bar
from agents.cli.replay_options import By
from agents.errors import UsageError

if TYPE_CHECKING:
    from agents.history.as_of import Place

app = typer.Typer()


@app.command(
    "as-of",
    epilog="Examples: `attune as-of loyalty:4711`, `attune as-of loyalty:4711 --at '2d ago' --json`, "
    "`attune as-of attune:9f0c... --offset 41200`, `attune as-of loyalty:4711 --offset 41200 --verify 3b7a...`",
)
def as_of(
    key: Annotated[str, typer.Argument(metavar="KEY", help="`namespace:value`, or a surrogate of 32 hex digits")],
    *,
    at: Annotated[str | None, typer.Option(help="RFC 3339, `2d ago` or now; inclusive")] = None,
    by: Annotated[
        By, typer.Option(help="what --at means: append to the journal, or event: the clock of the customer's partition")
    ] = By.APPEND,
    offset: Annotated[int | None, typer.Option(min=0, help="of the customer's journal partition, inclusive")] = None,
    partition: Annotated[
        int | None, typer.Option(min=0, help="of the journal, where a split has moved the customer to another")
    ] = None,
    verify: Annotated[str | None, typer.Option(metavar="HASH", help="exit 1 if the input's hash is another")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show state and explanation of one customer at a position; without --at and --offset at the present end.

    The explanation is the newest decision up to there with the reason of every candidate, its factors, policy and
    model, the suppressions, and the events that they rest on. The hash covers everything that the fold of this
    customer depended on, and nothing behind the position: it is the same on every machine, today and in a year
    (agents/history/input_hash.py says what is hashed). Exit 1 for an unknown customer, or another hash than --verify.
    """
    from agents.cli.customers import surrogate_of
    from agents.cli.looking_up import look_up

    place = _place(at, by, offset)
    wanted = None if verify is None else _hash(verify)
    settings = connect.kafka_settings()
    customer = surrogate_of(settings, key)
    with connect.explained(settings), bar("folding the journal partition") as told:
        found, profile = asyncio.run(look_up(settings, customer, place, told, partition=partition))
    shown = _shown(found, profile)
    if wanted is not None:
        shown["verified"] = shown["input"]["sha256"] == wanted
    if json:
        context.print_json(shown)
    else:
        from agents.cli.as_of_text import print_as_of

        print_as_of(shown, wanted)
    raise typer.Exit(1 if wanted is not None and not shown["verified"] else 0)


def _place(at: str | None, by: By, offset: int | None) -> "Place":
    from agents.history.as_of import Place
    from agents.history.moments import moment_ms

    if at is not None and offset is not None:
        raise UsageError("--at and --offset both say where to look", "use one of them")
    if at is None:
        return Place(offset=offset)
    now_ms = int(time.time() * 1000)
    at_ms = moment_ms(at, now_ms, "--at")
    if by is By.EVENT:
        return Place(clock_ms=at_ms)
    if at_ms > now_ms:
        raise UsageError(f"--at {at} lies ahead, what will be appended until then is not known", "name a time that was")
    return Place(appended_ms=at_ms)


def _hash(text: str) -> str:
    digits = text.strip().lower().removeprefix("sha256:")
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise UsageError(f"--verify {text!r} is no SHA-256", "give the 64 hex digits that `attune as-of` printed")
    return digits


def _shown(found: Any, profile: dict[str, Any]) -> dict[str, Any]:
    from agents.cli import folding
    from agents.history.explanation import explanation
    from schemas import headers

    documents = found.active()
    return {
        "customer": found.customer,
        "journal": {
            "partition": found.tp.partition,
            "position": found.end - 1,
            "appended_at": headers.rfc3339(found.appended_ms),
            "dead_letters": found.refused,
        },
        "state": profile,
        **explanation(found),
        "input": {
            "sha256": found.input.digest(documents, found.partition.logic),
            "records": found.input.records,
            "control_records": found.input.controls,
            "documents": [
                {"kind": kind, "name": active.name, "version": active.version, "sha256": active.sha256}
                for kind, active in documents
            ],
            "logic": found.partition.logic,
            "release": folding.release(),
        },
    }
