"""The contest of engine, loop and stock Faust: the plain fold."""

from pathlib import Path

from agents.engine import changelog
from tests.benchmarks import loop, plain
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import CHANGELOG_CONFIG, Cluster
from tests.benchmarks.verdict import Verdict, differences, repetitions

NO_STATE = (*changelog.OWN, loop.POSITION_KEY)
"""Keys of the changelogs that hold no states begin so."""


class PlainContest:
    """One input for all of its contenders."""

    def __init__(self, cluster: Cluster, given: plain.Input, source: str) -> None:
        self._cluster = cluster
        self._given = given
        self._source = source
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
        await cluster.create({assignment.changelog: plain.PARTITIONS}, CHANGELOG_CONFIG)
        return assignment

    async def ends(self, assignment: Assignment) -> dict[int, int]:
        return {p: end for p, end in (await self._cluster.ends(assignment.source)).items() if end}

    async def judge(self, assignment: Assignment) -> Verdict:
        cluster, expected = self._cluster, self._expected
        assert expected is not None
        outputs: dict[bytes, tuple[bytes | None, bytes | None]] = {}
        sent = 0
        async for record in cluster.read(assignment.out):
            outputs[dict(record.headers).get(plain.POSITION, b"")] = record.key, record.value
            sent += 1
        states: dict[bytes, bytes] = {}
        written = 0
        async for record in cluster.read(assignment.changelog):
            written += 1
            if not record.key.startswith(NO_STATE):
                states[record.key] = record.value
        dead = sum((await cluster.ends(assignment.dead)).values())
        wrong = [
            *differences("outputs", outputs, expected.outputs),
            *repetitions("outputs", sent, len(outputs)),
            *differences("states", states, expected.states),
            *([f"{dead} dead letters"] if dead else []),
        ]
        decoded = [plain.decode(state) for state in states.values()]
        facts = {
            "customers": self._given.customers,
            "outputs": sent,
            "changelog_records": written,
            "counted": sum(state.count for state in decoded),
            "sum": sum(state.sum for state in decoded),
        }
        return Verdict(tuple(wrong), facts)

    async def clear(self, assignment: Assignment) -> None:
        await self._cluster.delete(assignment.out, assignment.dead, assignment.changelog)
