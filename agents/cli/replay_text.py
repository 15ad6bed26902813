"""A replay on a terminal: a line for each thing that is given out, a few words at the end."""

import json as plain_json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, Final, TextIO

_WIDTHS: Final = (16, 20, 9, 11)
_HEAD: Final = ("journal", "event time", "customer", "what")


def print_lines(part: Iterable[bytes]) -> None:
    """Print one line for each JSON line; the head comes before the first one."""
    from agents.history.lines import read_line

    for line in part:
        item = read_line(line)
        value = item["value"]
        place = f"{item['partition']}/{item['offset']}" + ("" if item["index"] is None else f"/{item['index']}")
        what, at_ms, words = _unreadable(item) if value is None else _ROWS[item["what"]](value)
        cells = (place, _time(at_ms), (item["key"] or "")[:8], what)
        sys.stdout.write(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)) + words + "\n"
        )


def print_head() -> None:
    """Print the names of the columns."""
    sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(_HEAD, _WIDTHS, strict=True)) + "because\n")


def pass_on(part: IO[bytes]) -> None:
    """Write JSON lines as they are."""
    sys.stdout.flush()
    shutil.copyfileobj(part, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def report(found: Mapping[str, Any], out: TextIO, *, json: bool) -> None:
    """Say what was done: one JSON object, or a line or two."""
    if json:
        out.write(plain_json.dumps(found) + "\n")
        return
    if found["was_complete"]:
        out.write(f"{found['given']:,} given out to {found['to']} before: it is complete, nothing was done\n")
        return
    rate = found["read"] / found["seconds"] if found["seconds"] else 0.0
    out.write(
        f"{found['given']:,} given out to {found['to']}; {found['read']:,} records of the journal read in "
        f"{found['seconds']:.1f} s, {rate:,.0f} a second (partitions {found['partitions']}, processes "
        f"{found['jobs']})\n"
    )
    if found["refused"]:
        out.write(
            f"{found['refused']:,} records were refused, as live: `attune dlq list --topic journal` has the reasons\n"
        )


def print_plan(found: Mapping[str, Any]) -> None:
    """Print what would be read and written."""
    lines = [f"{'partition':>9}  {'given out from':>14}  {'below':>12}  {'journal ends':>12}  {'read':>12}"]
    lines += [
        f"{row['partition']:>9}  {row['begin']:>14,}  {row['end']:>12,}  {row['journal_end']:>12,}  {row['read']:>12,}"
        for row in found["partitions"]
    ]
    further = ", of which customer, channel, type or event time choose" if found["selects_further"] else ""
    lines.append(f"{found['read']:,} records would be read, {found['in_range']:,} lie in the range{further}")
    for row in found["documents"]:
        there = "there" if row["there"] else "MISSING: where it was activated the fold stops"
        digest = f" ({row['sha256'][:12]})" if row["sha256"] else ""
        lines.append(f"{row['kind'].lower()} {row['name']} {row['version']}{digest}: {there}")
    to = (
        found["to"]
        if found["topic_partitions"] is None
        else f"topic {found['to']} ({found['topic_partitions']} partitions)"
    )
    lines.append(f"what is given out would go to {to}" + (", going on with what is there" if found["goes_on"] else ""))
    lines.append("nothing was written")
    sys.stdout.write("\n".join(lines) + "\n")


def _action(value: Mapping[str, Any]) -> tuple[str, int, str]:
    kind = value["kind"].lower().replace("_", " ")
    why = f"{value['trigger']['type']}, {value['reason']}"
    risk = "" if value["churn_risk"] is None else f", risk {value['churn_risk']:.2f}"
    action = "" if value["action_id"] is None else f"{value['action_id']} on {value['channel']}: "
    return kind, value["decided_at"], f"{action}{why}{risk}, {len(value['candidates'])} candidates"


def _suppression(value: Mapping[str, Any]) -> tuple[str, int, str]:
    at_ms = value["started_at"] if value["lifted_at"] is None else value["lifted_at"]
    scope = value["scope"] or value["scope_kind"]
    return value["status"].lower(), at_ms, f"{scope}: {value['reason']}, evidence {', '.join(value['evidence'])}"


def _interaction(value: Mapping[str, Any]) -> tuple[str, int, str]:
    words = [value["type"], f"on {value['channel']}", f"from {value['source'] or '?'}", f"id {value['event_id']}"]
    if value["amount_minor"] is not None:
        words.append(f"{value['amount_minor'] / 100:,.2f} {value['currency']}".rstrip())
    if value["reference"]:
        words.append(f"about {value['reference']}")
    return "event", value["occurred_at"], ", ".join(words)


def _unreadable(item: Mapping[str, Any]) -> tuple[str, int, str]:
    return "unreadable", 0, item["unreadable"]


_ROWS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, int, str]]]] = {
    "action": _action,
    "suppression": _suppression,
    "interaction": _interaction,
}


def _time(at_ms: int) -> str:
    from schemas.headers import rfc3339

    return rfc3339(at_ms)[:19].replace("T", " ") if at_ms else ""
