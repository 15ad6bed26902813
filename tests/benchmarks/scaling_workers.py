"""What an event costs with two fold workers, compared with one: the same journal, in turns, each turn judged.

Counted is the CPU time of all fold workers together, from the first record of each to the commit of the last:
heartbeats, commits and what the group asks of its members are in it, the start of a process is not.  The broker, which
coordinates the group, is counted beside them.  Two processes that are busy at once may each be slower than one alone,
on any machine; so the same steps of the fold, without Kafka, are timed in one process and in two at once.
"""

import asyncio
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agents.ops.members import describe
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.core_contest import CoreContest
from tests.benchmarks.scaling_child import gate_of
from tests.benchmarks.scaling_machine import busy_at_once
from tests.benchmarks.stopwatch import RunFailed, Timing, time_run
from tests.benchmarks.verdict import Verdict
from tests.benchmarks.views import cpu_seconds

ASKED = 1.15
COUNTS = (1, 2)
_SLOWEST = 1_000
"""Events a second under which a turn is given up, beside a minute to start."""
_BUSY_EVENTS = 10_000
_TICK = 0.01
"""Seconds by which the kernel counts: less is not told from nothing."""


class Turn(NamedTuple):
    """One run of so many workers over the journal, and the machine's own part at that time."""

    workers: int
    events: int
    timings: Sequence[Timing]
    """One for each worker; none where the run has failed."""
    broker: float
    """CPU seconds of the broker."""
    busy: float
    """CPU seconds that the same steps took in each of so many processes at once."""
    verdict: Verdict

    @property
    def cost(self) -> float:
        """Microseconds of CPU an event, all workers together."""
        return max(sum(timing.cpu_seconds for timing in self.timings), _TICK) / self.events * 1e6

    @property
    def with_broker(self) -> float:
        """The same and the broker."""
        return self.cost + self.broker / self.events * 1e6


class Bench:
    """A broker with one journal."""

    def __init__(self, cluster: Cluster, home: Path, events: int, broker: int) -> None:
        """Take the number of events, and the broker's process."""
        self.cluster = cluster
        self.home = home
        self.contest = CoreContest(cluster, events)
        self._broker = broker

    async def turn(self, count: int, number: int) -> Turn:
        """Fold the journal with so many workers and judge what they leave; `number` is unique."""
        folder = self.home / f"{number}-{count}"
        whole = await self.contest.prepare(f"workers-{count}", folder, number)
        ends = await self.contest.ends(whole)
        events = sum(ends.values())
        assignments = []
        for worker in range(count):
            own = folder / str(worker)
            own.mkdir(parents=True)
            assignments.append(dataclasses.replace(whole, contender="gated", folder=str(own)))
        used: list[float] = []
        failed: list[str] = []

        async def done() -> bool:
            found = await self.cluster.committed(whole.group, whole.source) == ends
            if found:
                used.append(cpu_seconds(self._broker))
            return found

        try:
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(time_run("scaling_child", one, done, 60 + events / _SLOWEST))
                    for one in assignments
                ]
                await self._joined(whole.group, count)
                before = cpu_seconds(self._broker)
                gate_of(folder).touch()
        except* RunFailed as failures:
            failed += map(str, failures.exceptions)
        if failed:
            return Turn(count, events, (), 0.0, 0.0, Verdict(tuple(failed)))
        verdict = await self.contest.judge(whole)
        busy = await busy_at_once(count, min(events, _BUSY_EVENTS))
        return Turn(count, events, [one.result() for one in running], used[0] - before, busy, verdict)

    async def _joined(self, group: str, count: int) -> None:
        """Wait until so many members own partitions."""
        while True:
            state, members = await describe(self.cluster.admin, group)
            if state == "Stable" and len(members) == count and all(member.owns for member in members):
                return
            await asyncio.sleep(0.1)


async def bench(cluster: Cluster, home: Path, broker: int, events: int, rounds: int) -> list[Turn]:
    """Let one worker and two take turns."""
    one = Bench(cluster, home, events, broker)
    await one.contest.publish()
    return [await one.turn(count, number) for number in range(rounds) for count in COUNTS]


def as_table(turns: Sequence[Turn]) -> str:
    """Return a row for each number of workers, medians of its turns, and what was asked."""
    right = [turn for turn in turns if turn.timings]
    by_count = {count: [turn for turn in right if turn.workers == count] for count in COUNTS}
    head = f"{'workers':>7} {'turns':>5} {'events':>9} {'us an event':>11} {'ratio':>6} {'and broker':>10} {'ratio':>6}"
    lines = [f"{head} {'events a second':>15} {'same steps alone':>16}"]
    ratios: dict[int, float] = {}
    for count, own in by_count.items():
        if not own:
            lines.append(f"{count:>7}     0  no turn has ended")
            continue
        first = by_count[COUNTS[0]] or own
        cost, base = _median(own, "cost"), _median(first, "cost")
        whole, whole_base = _median(own, "with_broker"), _median(first, "with_broker")
        rate = statistics.median(turn.events / max(one.wall_seconds for one in turn.timings) for turn in own)
        alone = _median(own, "busy") / _median(first, "busy")
        ratios[count] = cost / base
        lines.append(
            f"{count:>7} {len(own):>5} {own[0].events:>9,} {cost:>11.1f} {ratios[count]:>6.2f} {whole:>10.1f} "
            f"{whole / whole_base:>6.2f} {rate:>15,.0f} {alone:>15.2f}x"
        )
    lines.append("CPU of the workers together; then with the broker's; last what the machine adds: see --help")
    lines.append(_asked(ratios, by_count))
    return "\n".join(lines)


def _median(turns: Sequence[Turn], of: str) -> float:
    return statistics.median(getattr(turn, of) for turn in turns)


def _asked(ratios: Mapping[int, float], by_count: Mapping[int, Sequence[Turn]]) -> str:
    if not all(by_count.values()):
        return f"asked: at most {ASKED:.2f} with two workers: MISSED, it could not be measured"
    ratio = ratios[COUNTS[-1]]
    return f"asked: at most {ASKED:.2f} with two workers: {'met' if ratio <= ASKED else 'MISSED'} at {ratio:.2f}"
