"""The table at the end, and the same as JSON."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.benchmarks.contenders import Contender
from tests.benchmarks.stopwatch import Timing
from tests.benchmarks.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Run:
    """One run; without timing it failed, and the verdict says how."""

    events: int
    verdict: Verdict
    timing: Timing | None = None

    @property
    def rate(self) -> float | None:
        """Events per CPU second."""
        return None if self.timing is None else self.events / max(self.timing.cpu_seconds, 0.001)


@dataclasses.dataclass(frozen=True)
class Row:
    """All runs of one contender."""

    contender: Contender
    runs: Sequence[Run]

    @property
    def right(self) -> bool:
        """Whether every run had right results."""
        return all(run.verdict.right for run in self.runs)

    @property
    def rates(self) -> list[float]:
        """Events per CPU second of the runs that ended."""
        return [run.rate for run in self.runs if run.rate is not None]

    @property
    def median(self) -> float | None:
        """Median of the rates."""
        return statistics.median(self.rates) if self.rates else None


def ratio(row: Row, loop: Row | None) -> float | None:
    """Return the ratio to the loop's rate: of plain folds only, median to median."""
    if loop is None or not loop.median or not row.median or not row.contender.contest.startswith("plain"):
        return None
    return row.median / loop.median


def met(row: Row, loop: Row | None) -> bool | None:
    """Return whether the target is met; None where there is none, or nothing to compare with."""
    target = row.contender.target
    if target is None:
        return None
    value, asked = (row.median, target.rate) if target.rate is not None else (ratio(row, loop), target.ratio)
    return None if value is None or asked is None else value >= asked


def as_json(rows: Iterable[Row], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that was measured."""
    rows = list(rows)
    loop = _loop(rows)
    return {
        **about,
        "right": all(row.right for row in rows),
        "contenders": [
            {
                "name": row.contender.name,
                "note": row.contender.note,
                "events": row.runs[0].events,
                "events_per_cpu_second": row.median,
                "best_events_per_cpu_second": max(row.rates, default=None),
                "ratio_to_loop": ratio(row, loop),
                "right": row.right,
                "target": None if row.contender.target is None else str(row.contender.target),
                "target_met": met(row, loop),
                "runs": [
                    {
                        **({} if run.timing is None else run.timing._asdict()),
                        "wrong": list(run.verdict.wrong),
                        **run.verdict.facts,
                    }
                    for run in row.runs
                ],
            }
            for row in rows
        ],
    }


_HEAD = ("contender", "events", "CPU seconds", "per CPU s", "best", "ratio to loop", "right?", "target", "")


def as_table(rows: Iterable[Row]) -> str:
    """Return the table: medians of the runs, the best beside it, and notes below."""
    rows = list(rows)
    loop = _loop(rows)
    lines = [_HEAD, *(_cells(row, loop) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = []
    for line in lines:
        cells = [
            cell.ljust(width) if column in (0, 6, 7, 8) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    text.append("")
    text += [f"{row.contender.name}: {_note(row)}" for row in rows]
    text += [f"WRONG {row.contender.name}: {fault}" for row in rows for run in row.runs for fault in run.verdict.wrong]
    return "\n".join(text)


def _cells(row: Row, loop: Row | None) -> tuple[str, ...]:
    target = row.contender.target
    seconds = [run.timing.cpu_seconds for run in row.runs if run.timing is not None]
    share = ratio(row, loop)
    return (
        row.contender.name,
        f"{row.runs[0].events:,}",
        f"{statistics.median(seconds):.2f}" if seconds else "-",
        f"{row.median:,.0f}" if row.median else "-",
        f"{max(row.rates):,.0f}" if row.rates else "-",
        f"{share:.3f}" if share is not None else "-",
        "right" if row.right else "WRONG",
        "" if target is None else str(target),
        {True: "met", False: "MISSED", None: "" if target is None else "not measured"}[met(row, loop)],
    )


def _note(row: Row) -> str:
    facts = row.runs[0].verdict.facts
    shown = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in facts.items() if name != "sum")
    times = f"{len(row.runs)} runs" if len(row.runs) > 1 else "1 run"
    return f"{row.contender.note}; {times}" + (f"; {shown}" if shown else "")


def _loop(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row.contender.name == "loop"), None)
