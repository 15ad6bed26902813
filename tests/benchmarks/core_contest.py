"""The contest of the thin core: the shipped fold worker over a journal, pack and model activated in it.

The stream is that of tests.benchmarks.core: consents, then baskets in order of time; the share of
events that are decided on is among the facts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents import documents
from agents.ops import topics as topic_admin
from agents.topology import FOLD_GROUP
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.identity import journal_partition
from streams.state import STATE_CODEC
from streams.step import Core
from tests.benchmarks import core
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import Cluster, Item
from tests.benchmarks.shipped import settings_of
from tests.benchmarks.traces import NO_STATE
from tests.benchmarks.verdict import Verdict, differences, repetitions
from tests.streams.journal import MODEL, sha256

LARGE = 0.1
"""Share of baskets that trigger by their amount; with those of customers who come back it is 15 % or so."""
EVENTS_PER_CUSTOMER = 16
_PARTITIONS = CATALOGUE.topics[topics.JOURNAL].partitions
_OUTPUTS = (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS, topics.JOURNAL_DEAD)


class CoreContest:
    """One journal, folded by each run from its beginning."""

    def __init__(self, cluster: Cluster, events: int) -> None:
        self._cluster = cluster
        self._events = events
        self._starts: dict[str, dict[int, int]] = {}
        self._ends: dict[int, int] = {}
        self._states: dict[bytes, bytes] = {}
        self._outputs: dict[bytes, tuple[Any, ...]] = {}
        self._deciding = 0

    async def publish(self) -> None:
        await topic_admin.apply(self._cluster.admin, CATALOGUE, replication=1)
        settings = settings_of(self._assignment(Path()))
        for kind, raw in (("model", MODEL), ("policy", core.PACK)):
            await documents.publish(settings, kind, raw, approved_by="benchmark")
        await self._cluster.fill(topics.JOURNAL, self._items())
        self._ends = await self._cluster.ends(topics.JOURNAL)
        await self._fold()

    async def prepare(self, contender: str, folder: Path, turn: int) -> Assignment:
        cluster = self._cluster
        if self._starts:
            await cluster.delete(topics.FOLD_CHANGELOG)
            await topic_admin.apply(cluster.admin, CATALOGUE, replication=1)
            await cluster.rewind(FOLD_GROUP, topics.JOURNAL)
        self._starts = {topic: await cluster.ends(topic) for topic in _OUTPUTS}
        return self._assignment(folder)

    async def ends(self, assignment: Assignment) -> dict[int, int]:
        return self._ends

    async def judge(self, assignment: Assignment) -> Verdict:
        outputs: dict[bytes, tuple[Any, ...]] = {}
        sent = 0
        for topic in _OUTPUTS:
            async for record in self._cluster.read(topic, self._starts[topic]):
                position = dict(record.headers).get(names.POSITION, b"")
                outputs[position] = record.topic, record.key, record.value
                sent += 1
        states: dict[bytes, bytes] = {}
        async for record in self._cluster.read(topics.FOLD_CHANGELOG):
            if not record.key.startswith(NO_STATE):
                states[_state_key(record)] = record.value
        wrong = [
            *differences("outputs", outputs, self._outputs),
            *repetitions("outputs", sent, len(outputs)),
            *differences("states", states, self._states),
        ]
        facts = {
            "customers": len(states) - _PARTITIONS,
            "outputs": sent,
            "deciding_share": round(self._deciding / sum(self._ends.values()), 4),
        }
        return Verdict(tuple(wrong), facts)

    async def clear(self, assignment: Assignment) -> None:
        """Nothing: the next run's `prepare` does it."""

    def _assignment(self, folder: Path) -> Assignment:
        return Assignment(
            contender="thin-core",
            bootstrap=self._cluster.bootstrap,
            redis_url=self._cluster.redis_url,
            folder=str(folder),
            group=FOLD_GROUP,
            source=topics.JOURNAL,
        )

    def _items(self) -> Iterator[Item]:
        customers = max(10, self._events // EVENTS_PER_CUSTOMER)
        before, baskets = core.stream(LARGE, customers=customers, events=max(1, self._events // 2))
        for record in before + baskets:
            if record.key is None:
                for partition in range(_PARTITIONS):
                    yield partition, None, record.value, record.headers
            else:
                yield journal_partition(record.key.decode(), _PARTITIONS), record.key, record.value, record.headers

    async def _fold(self) -> None:
        """Fold the journal one record after the other, without any engine."""
        held = {sha256(raw): raw for raw in (core.PACK, MODEL)}
        step: Any = None
        table = core.Table()
        last = -1
        async for record in self._cluster.read(topics.JOURNAL):
            if record.partition != last:
                self._keep(table, last)
                step, table, last = Core(held), core.Table(), record.partition
            sent = step(table, record)
            self._deciding += bool(sent)
            for index, output in enumerate(sent):
                self._outputs[b"%d/%d/%d" % (record.partition, record.offset, index)] = tuple(output[:3])
        self._keep(table, last)

    def _keep(self, table: core.Table, partition: int) -> None:
        for key, state in table.items():
            self._states[b"%d/%s" % (partition, key)] = STATE_CODEC.encode(state)


def _state_key(record: Any) -> bytes:
    """Return the key of a state together with its partition: each partition has a state of its own under one key."""
    return b"%d/%s" % (record.partition, record.key)
