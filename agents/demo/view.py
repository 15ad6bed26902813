"""The demo on a terminal."""

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agents.demo.run import Stage
from schemas import headers as names
from schemas.vocabulary import DecisionKind

_BARS = " ▁▂▃▄▅▆▇█"


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
        for title in ("group", "behind", "seconds", "", "", ""):
            table.add_column(title, justify="right" if title in ("behind", "seconds") else "left")
        counts = [
            ("actions", f"{tally.actions:,}", "recalled", f"{tally.recalled:,}"),
            ("no action", f"{tally.no_action:,}", "suppressions", f"{tally.started} started, {tally.lifted} lifted"),
        ]
        groups = list(stage.behind.items()) or [("-", (0, 0.0))]
        for index, (group, (records, seconds)) in enumerate(groups):
            left, value, right, other = counts[index % len(counts)]
            table.add_row(
                group, f"{records:,}", f"{seconds:.1f}", f"   {left} [b]{value}[/b]", f"{right} [b]{other}[/b]"
            )
        return table

    def _risk(self) -> RenderableType:
        counts = self._stage.tally.histogram(20)
        most = max(1, *counts)
        bars = "".join(_BARS[round(count / most * (len(_BARS) - 1))] for count in counts)
        return Text(f"churn risk of {sum(counts):,} customers  0 {bars} 1")


def _newest(stage: Stage) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for title in ("when", "customer", "what", "channel", "risk", "because"):
        table.add_column(title, overflow="ellipsis", no_wrap=True)
    for decision in reversed(stage.tally.newest):
        recalled = decision["kind"] == DecisionKind.RECALLED.value
        risk = decision["churn_risk"]
        table.add_row(
            names.rfc3339(decision["decided_at"])[:16],
            decision["customer"][:8],
            f"[red]recalled[/red] {decision['action_id']}" if recalled else decision["action_id"],
            decision["channel"].lower(),
            "" if risk is None else f"{risk:.2f}",
            decision["reason"].lower() if recalled else f"{decision['trigger']['type']}, {_removed(decision)}",
        )
    return table


def _removed(decision: dict[str, Any]) -> str:
    others = [candidate for candidate in decision["candidates"] if candidate["action_id"] != decision["action_id"]]
    return f"before {len(others)} others"


def summary(found: dict[str, Any]) -> str:
    """Return the closing words: what happened, and what to try next."""
    held = found["oracle"]["held"]
    verdict = {True: "held", False: "DID NOT HOLD", None: "not run"}[held]
    latency, held_back = found["latency_ms"], found["suppressions"]
    lines = (
        f"{found['interactions']:,} interactions of {found['customers']:,} customers, "
        f"{found['events_per_second']:,.0f} a second from publishing to state and decision",
        f"{found['actions']:,} actions proposed, {found['recalled']:,} recalled before dispatch, "
        f"{found['delivered']:,} delivered to the outbox; no action {found['no_action']:,} times, each with its reason",
        f"suppressions: {held_back['started']} started, {held_back['lifted']} lifted; "
        f"dead letters: {found['dead_letters']}",
        f"latency, interaction to output, at 1,000 events a second: p50 {latency['p50']} ms, p99 {latency['p99']} ms",
        f"oracle (a sequential fold of the journal, by another process): {verdict}",
        "",
        "try next:",
        f"  less {found['home']}/outbox.jsonl                    what the connector delivered",
        "  attune demo --events 100000                            more of the data",
        "  attune policy check schemas/packs/retail-thin.yaml     change a rule, check it, play again",
        "  attune local up && attune topics apply && attune worker   the same, to keep",
    )
    return "\n".join(lines)
