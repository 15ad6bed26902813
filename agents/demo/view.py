"""The demo on a terminal."""

import collections
import itertools
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agents.demo.run import Stage
from schemas import headers as names
from schemas.vocabulary import DecisionKind

_BARS = " ▁▂▃▄▅▆▇█"
_EXAMPLE = 42
_PACK = "schemas/packs/retail.yaml"


class View:
    """Renders a stage; rich calls it again and again."""

    def __init__(self, stage: Stage) -> None:
        """Take the stage to show."""
        self._stage = stage
        self._last = (time.monotonic(), 0)
        self._rate = 0.0

    def __rich__(self) -> RenderableType:
        """Return the whole view."""
        stage = self._stage
        return Panel(
            Group(self._head(), Text(), self._numbers(), Text(), self._risk(), Text(), _newest(stage)),
            title=f"[b]Attune[/b]  {stage.title}",
            border_style="cyan",
        )

    def _head(self) -> RenderableType:
        stage, now = self._stage, time.monotonic()
        then, published = self._last
        if now - then > 1.0:
            self._rate = (stage.published - published) / (now - then)
            self._last = (now, stage.published)
        clock = names.rfc3339(stage.tally.clock_ms)[:10] if stage.tally.clock_ms else "-"
        return Text(
            f"{stage.published:,} of {stage.events:,} interactions   {self._rate:,.0f} a second   "
            f"event time {clock}   {now - stage.began:.0f} s"
        )

    def _numbers(self) -> RenderableType:
        stage, tally = self._stage, self._stage.tally
        table = Table(box=None, pad_edge=False)
        for title in ("group", "behind", "seconds", "status", "", ""):
            table.add_column(title, justify="right" if title in ("behind", "seconds") else "left", no_wrap=True)
        counts = (
            f"   actions [b]{tally.actions:,}[/b], recalled [b]{tally.recalled:,}[/b], none [b]{tally.no_action:,}[/b]",
            f"   suppressions started [b]{tally.started:,}[/b], lifted [b]{tally.lifted:,}[/b]",
        )
        rows = [(group.group, f"{group.lag:,}", f"{group.seconds:.1f}", group.status.value) for group in stage.groups]
        for row, count in itertools.zip_longest(rows[: len(counts)], counts):
            table.add_row(*(row or ("-", "-", "-", "-")), count)
        return table

    def _risk(self) -> RenderableType:
        counts = self._stage.tally.histogram(20)
        most = max(1, *counts)
        bars = "".join(_BARS[round(count / most * (len(_BARS) - 1))] for count in counts)
        return Text(f"churn risk of {sum(counts):,} customers  0 {bars} 1")


def _newest(stage: Stage) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for title, width in (("when", 11), ("customer", 8), ("what", 12), ("channel", 7), ("risk", 4), ("because", None)):
        table.add_column(title, overflow="ellipsis", no_wrap=True, min_width=width)
    for decision in reversed(stage.tally.newest):
        recalled = decision["kind"] == DecisionKind.RECALLED.value
        risk = decision["churn_risk"]
        table.add_row(
            names.rfc3339(decision["decided_at"])[5:16].replace("T", " "),
            decision["customer"][:8],
            f"[red]recalled[/red] {decision['action_id']}" if recalled else decision["action_id"],
            decision["channel"].lower().replace("_", " "),
            "" if risk is None else f"{risk:.2f}",
            decision["reason"].lower() if recalled else f"{decision['trigger']['type']}, {_removed(decision)}",
        )
    return table


def _removed(decision: dict[str, Any]) -> str:
    """Say what became of the other candidates: how many fell for which reason."""
    others = [candidate for candidate in decision["candidates"] if candidate["action_id"] != decision["action_id"]]
    reasons = collections.Counter(candidate["reason"].lower().replace("_", " ") for candidate in others)
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "no other candidate"


def summary(found: dict[str, Any], command: str) -> str:
    """Return the closing words: what happened, and what to try next; `command` is how `attune` is typed here."""
    held = found["oracle"]["held"]
    verdict = {True: "held", False: "DID NOT HOLD", None: "not run"}[held]
    latency, suppressions = found["latency_ms"], found["suppressions"]
    home = Path(found["home"])
    where = os.path.relpath(home) if home.is_relative_to(Path.cwd()) else str(home)
    here = f"ATTUNE_HOME={where} {command}"
    lines = (
        f"{found['interactions']:,} interactions of {found['customers']:,} customers, "
        f"{found['events_per_second']:,.0f} a second from publishing to state and decision",
        f"{found['actions']:,} actions proposed, {found['recalled']:,} recalled, {found['delivered']:,} delivered to "
        f"the outbox; no action {found['no_action']:,} times, each with its reason",
        f"suppressions: {suppressions['started']} started, {suppressions['lifted']} lifted; "
        f"dead letters: {found['dead_letters']}",
        f"latency, interaction to output, at 1,000 events a second: p50 {latency['p50']} ms, p99 {latency['p99']} ms",
        f"oracle (a sequential fold of the journal, by another process): {verdict}",
        *_differences(found["oracle"]),
        "",
        "try next:",
        f"  less {where}/outbox.jsonl",
        "      what the connector delivered",
        f"  {here} local up",
        "      the demo's Kafka once more, with everything in it; then, for one customer's state:",
        f"  {here} customer show household:{_EXAMPLE}",
        f"  {command} policy check {_PACK}",
        "      change a rule, check it, and play the demo again: who gets what has changed",
        f"  {command} demo --events 100000",
        "      more of the data",
    )
    return "\n".join(lines)


def _differences(oracle: dict[str, Any]) -> list[str]:
    return [f"  differs: {item['kind']} at {item['place']}: {item['words']}" for item in oracle.get("differences", ())]
