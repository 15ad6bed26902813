"""The contest of the plain fold: engine, loop, stock Faust and the peers."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import CHANGELOG_CONFIG, Cluster
from tests.benchmarks.traces import Traces
from tests.benchmarks.verdict import Tally, Verdict, differences, repetitions

Output = tuple[bytes, bytes | None, bytes | None]
"""Position, key, value."""


class PlainContest:
    """One input for all of its contenders; `traces` says by their names where each leaves its states."""

    def __init__(self, cluster: Cluster, given: plain.Input, source: str, traces: Mapping[str, Traces]) -> None:
        self._cluster = cluster
        self._given = given
        self._source = source
        self._traces = traces
        self._expected: plain.Result | None = None

    async def publish(self) -> None:
        await self._cluster.create({self._source: plain.PARTITIONS})
        items = ((partition, key, event, ()) for partition, key, event in self._given.records())
        await self._cluster.fill(self._source, items)
        self._expected = plain.sequential(self._given)

    async def prepare(self, contender: str, folder: Path, turn: int) -> Assignment:
        cluster = self._cluster
        assignment = Assignment(
            contender=contender,
            bootstrap=cluster.bootstrap,
            redis_url=cluster.redis_url,
            folder=str(folder),
            group=f"bench-{turn}-{contender}",
            source=self._source,
        )
        await cluster.create({assignment.out: plain.PARTITIONS, assignment.dead: 1})
        if topic := self._traces[contender].topic(assignment):
            await cluster.create({topic: plain.PARTITIONS}, CHANGELOG_CONFIG)
        return assignment

    async def ends(self, assignment: Assignment) -> dict[int, int]:
        return {p: end for p, end in (await self._cluster.ends(assignment.source)).items() if end}

    async def judge(self, assignment: Assignment) -> Verdict:
        cluster, expected = self._cluster, self._expected
        assert expected is not None
        await cluster.settled(assignment.out)
        sent: Counter[Output] = Counter()
        async for record in cluster.read(assignment.out):
            sent[dict(record.headers).get(plain.POSITION, b""), record.key, record.value] += 1
        outputs = {position: (key, value) for position, key, value in sent}
        states, written = await self._traces[assignment.contender].states(cluster, assignment)
        dead = sum((await cluster.ends(assignment.dead)).values())
        wrong = [
            *differences("outputs", outputs, expected.outputs),
            *repetitions("outputs", sent.total(), len(outputs)),
            *differences("states", states, expected.states),
            *([f"{dead} dead letters"] if dead else []),
        ]
        decoded = [plain.decode(state) for state in states.values()]
        facts = {
            "customers": self._given.customers,
            "outputs": sent.total(),
            "changelog_records": written,
            "counted": sum(state.count for state in decoded),
            "sum": sum(state.sum for state in decoded),
        }
        return Verdict(tuple(wrong), facts, tally(sent, states, expected))

    async def clear(self, assignment: Assignment) -> None:
        topic = self._traces[assignment.contender].topic(assignment)
        await self._cluster.delete(assignment.out, assignment.dead, *([topic] if topic else []))


def tally(sent: Counter[Output], states: Mapping[bytes, bytes], expected: plain.Result) -> Tally:
    """Count what was lost and what was doubled."""
    wanted = {(position, key, value) for position, (key, value) in expected.outputs.items()}
    lost = doubled = wrong = 0
    for key in {*states, *expected.states}:
        found, right = states.get(key), expected.states.get(key)
        more = _count(found) - _count(right)
        lost, doubled, wrong = lost - min(more, 0), doubled + max(more, 0), wrong + (not more and found != right)
    return Tally(
        lost_events=lost,
        doubled_events=doubled,
        wrong_states=wrong,
        lost_outputs=len(wanted - sent.keys()),
        doubled_outputs=sum(copies - 1 for output, copies in sent.items() if output in wanted),
        wrong_outputs=sum(copies for output, copies in sent.items() if output not in wanted),
    )


def _count(state: bytes | None) -> int:
    return 0 if state is None else plain.decode(state).count
