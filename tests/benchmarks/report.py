"""The table at the end, and the same as JSON."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.benchmarks.contenders import Contender
from tests.benchmarks.stopwatch import Timing
from tests.benchmarks.verdict import Tally, Verdict


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
class Kill:
    """One run that was killed so many seconds after its first record, with a share `committed`, and started again.

    Nothing can be judged of one that did not finish, which `failure` says, or that was done before the kill: `late`.
    """

    seconds: float
    committed: float = 0.0
    tally: Tally = dataclasses.field(default_factory=Tally)
    failure: str = ""
    late: bool = False

    def __str__(self) -> str:
        if self.late:
            return "done before it could be killed"
        return self.failure.split("\n", 1)[0].removesuffix(":") or str(self.tally)


@dataclasses.dataclass(frozen=True)
class Row:
    """All runs of one contender; `missing` says why there are none."""

    contender: Contender
    runs: Sequence[Run]
    kills: Sequence[Kill] = ()
    missing: str = ""

    @property
    def right(self) -> bool:
        """Whether every undisturbed run had right results."""
        return all(run.verdict.right for run in self.runs)

    @property
    def survived(self) -> bool:
        """Whether it was what is asked of it after every kill."""
        return not self.contender.survives or all(not kill.failure and kill.tally.sound for kill in self.kills)

    @property
    def after_kill(self) -> str:
        """What became of it when it was killed, all kills together; empty without any."""
        nothing = [kill for kill in self.kills if kill.failure or kill.late]
        if nothing or not self.kills:
            return str(nothing[0]) if nothing else ""
        return str(sum((kill.tally for kill in self.kills), Tally()))

    @property
    def rates(self) -> list[float]:
        """Events per CPU second of the runs that ended."""
        return [run.rate for run in self.runs if run.rate is not None]

    @property
    def median(self) -> float | None:
        """Median of the rates."""
        return statistics.median(self.rates) if self.rates else None

    @property
    def seconds(self) -> float | None:
        """CPU seconds for a million events, of the median rate."""
        return 1e6 / self.median if self.median else None


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
        "right": all(row.right and row.survived for row in rows),
        "contenders": [
            {
                "name": row.contender.name,
                "note": row.contender.note,
                "missing": row.missing or None,
                "events": row.runs[0].events if row.runs else None,
                "events_per_cpu_second": row.median,
                "best_events_per_cpu_second": max(row.rates, default=None),
                "cpu_seconds_per_million": row.seconds,
                "ratio_to_loop": ratio(row, loop),
                "right": row.right if row.runs else None,
                "guarantee": row.contender.guarantee,
                "after_kill": row.after_kill or None,
                "survived": row.survived if row.kills else None,
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
                "kills": [{**dataclasses.asdict(kill), **dataclasses.asdict(kill.tally)} for kill in row.kills],
            }
            for row in rows
        ],
    }


_HEAD = (
    "contender",
    "events",
    "CPU s / million",
    "per CPU s",
    "best",
    "ratio to loop",
    "right?",
    "target",
    "",
    "after a kill",
)
_RIGHT_ALIGNED = range(1, 6)


def as_table(rows: Iterable[Row]) -> str:
    """Return the table: medians of the runs, the best beside it, and notes below."""
    rows = list(rows)
    loop = _loop(rows)
    lines = [_HEAD, *(_cells(row, loop) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = []
    for line in lines:
        cells = [
            cell.rjust(width) if column in _RIGHT_ALIGNED else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    text.append("")
    text += [f"{row.contender.name}: {_note(row)}" for row in rows]
    text += [f"WRONG {row.contender.name}: {fault}" for row in rows for run in row.runs for fault in run.verdict.wrong]
    text += [
        f"{'' if row.survived else 'WRONG '}{row.contender.name}, killed after {kill.seconds:.2f} s: {kill.failure}"
        for row in rows
        for kill in row.kills
        if kill.failure
    ]
    text += [f"WRONG {row.contender.name} after a kill: {row.after_kill}" for row in rows if not row.survived]
    return "\n".join(text)


def _cells(row: Row, loop: Row | None) -> tuple[str, ...]:
    target = row.contender.target
    share = ratio(row, loop)
    asked = "" if target is None else str(target)
    if row.missing:
        return row.contender.name, "-", "-", "-", "-", "-", "missing", asked, "not measured" if asked else "", ""
    return (
        row.contender.name,
        f"{row.runs[0].events:,}",
        f"{row.seconds:.2f}" if row.seconds else "-",
        f"{row.median:,.0f}" if row.median else "-",
        f"{max(row.rates):,.0f}" if row.rates else "-",
        f"{share:.3f}" if share is not None else "-",
        "right" if row.right else "WRONG",
        asked,
        {True: "met", False: "MISSED", None: "not measured" if asked else ""}[met(row, loop)],
        row.after_kill or "not killed",
    )


def _note(row: Row) -> str:
    if row.missing:
        return f"missing: {row.missing}"
    facts = row.runs[0].verdict.facts
    parts = [row.contender.note, _times(len(row.runs), "run")]
    parts += [", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in facts.items() if name != "sum")]
    if row.kills:
        moments = ", ".join(f"{kill.seconds:.2f} s ({kill.committed:.0%} committed)" for kill in row.kills)
        parts += [f"guarantee: {row.contender.guarantee}", f"killed {moments} after its first record"]
    return "; ".join(part for part in parts if part)


def _times(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")


def _loop(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row.contender.name == "loop"), None)
