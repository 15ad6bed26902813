"""What an event costs the fold with ten thousand customers, and with a million, on a real broker.

For each number of customers a worker of its own, over a source and a changelog of its own, comes by the states of all
of them: real ones, of about 600 bytes, written into the changelog beforehand.  Then the same events, each of a customer
drawn anew, are folded in turns, one worker at work at a time.  Counted is the worker's CPU time from the append of the
events to their commit.  At the end everything that was given out and every state that was touched is compared with a
sequential fold.
"""

import asyncio
import contextlib
import json
import random
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.engine import changelog
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from streams.partition import PARTITION_KEY
from streams.state import STATE_CODEC
from streams.step import Core
from tests.benchmarks import core
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import CHANGELOG_CONFIG, Cluster, Item
from tests.benchmarks.scaling_child import DOCUMENTS
from tests.benchmarks.stopwatch import Timing, time_run
from tests.benchmarks.verdict import differences, repetitions
from tests.benchmarks.views import cpu_seconds
from tests.streams.journal import MODEL, START, Record

ASKED = 2.0
ASKED_OF = (10_000, 1_000_000)
"""Asked is the ratio of the cost with the second number of customers to that with the first."""
SIZES = (10_000, 100_000, 1_000_000)
WARM_EVENTS = 2_000
PARTITIONS = CATALOGUE.topics[topics.JOURNAL].partitions
_KINDS_OF_STATES = 1_000
_BASKETS_BEFORE = 3
"""Of each customer; every other one has one more."""
_TICK = 0.01
"""Seconds by which the kernel counts: less is not told from nothing."""
_SECONDS = 1_800.0
"""In which a worker must be through with everything."""
_OUTPUTS = (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS, topics.JOURNAL_DEAD)


def number_of(key: bytes) -> int:
    """Return the number of a customer; the first two digits of the key are the contender's."""
    digits = key[2:]
    return int(digits, 16)


class Material:
    """What all workers have in common: states to begin with, control records, and events without customers."""

    def __init__(self, events: int) -> None:
        """Make so many events."""
        self._chance = random.Random(5)
        self._number = 0
        self.controls = [core._control("POLICY", core.PACK, 0), core._control("MODEL", MODEL, 1)]
        step, table = Core(DOCUMENTS), core.Table()
        for record in self.controls:
            step(table, record)
        self.partition: bytes = STATE_CODEC.encode(table[PARTITION_KEY])
        """State of a partition behind the control records."""
        keys = [b"%032x" % number for number in range(_KINDS_OF_STATES)]
        for key in keys:
            step(table, self._event(key, "consent.given", attributes={"purpose": "marketing"}))
        for key in (*keys * _BASKETS_BEFORE, *keys[::2]):
            step(table, self._basket(key))
        self.states: list[bytes] = [STATE_CODEC.encode(table[key]) for key in keys]
        self.events = [self._basket(keys[0]) for _ in range(events)]

    @property
    def state_bytes(self) -> float:
        """Mean size of a state."""
        return statistics.mean(map(len, self.states))

    def _basket(self, key: bytes) -> Record:
        chance = self._chance
        amount = chance.randrange(10_000, 20_000) if chance.random() < 0.1 else chance.randrange(100, 9_000)
        reference = f"basket-{self._number}"
        return self._event(key, "purchase.made", amount_minor=amount, currency="USD", reference=reference)

    def _event(self, key: bytes, type_: str, **fields: Any) -> Record:
        self._number += 1
        fields |= {"occurred_at": START + self._number * 100, "channel": "OUTLET"}
        return core._event(type_, key, self._number, **fields)


class Cost(NamedTuple):
    """One turn: CPU of the worker."""

    customers: int
    events: int
    cpu_seconds: float

    @property
    def microseconds(self) -> float:
        """CPU an event."""
        return max(self.cpu_seconds, _TICK) / self.events * 1e6


class Contender:
    """The worker of one number of customers."""

    def __init__(self, cluster: Cluster, home: Path, customers: int, number: int, material: Material) -> None:
        """Take how many customers, and the number of this contender, by which its outputs are told."""
        folder = home / f"customers-{customers}"
        folder.mkdir()
        name = f"scaling-{customers}"
        self.customers = customers
        self.assignment = Assignment(
            "customers", cluster.bootstrap, cluster.redis_url, str(folder), name, f"{name}.journal"
        )
        self.tag = b"%02x" % number
        self._cluster = cluster
        self._material = material
        self._chance = random.Random(customers)
        self._folded = 0
        self._finished = asyncio.Event()
        self._running: asyncio.Task[Timing] | None = None
        self._filled: dict[int, int] = {}
        self._sent: list[Item] = []

    def key(self, customer: int) -> bytes:
        """Return the surrogate of a customer."""
        return b"%s%030x" % (self.tag, customer)

    async def fill(self) -> None:
        """Write the control records, and the state of every customer as of the last of them."""
        cluster, at = self._cluster, self.assignment
        await cluster.create({at.source: PARTITIONS})
        await cluster.create({at.changelog: PARTITIONS}, CHANGELOG_CONFIG)
        for partition in range(PARTITIONS):
            self._sent += [(partition, None, one.value, one.headers) for one in self._material.controls]
        await cluster.fill(at.source, self._sent)
        await cluster.fill(at.changelog, self._restored())
        self._filled = await cluster.ends(at.changelog)

    def _restored(self) -> Iterator[Item]:
        owner, states = changelog.successor(changelog.NOBODY), self._material.states
        for partition in range(PARTITIONS):
            changes = [(PARTITION_KEY, self._material.partition)]
            changes += [
                (self.key(customer), states[customer % len(states)])
                for customer in range(partition, self.customers, PARTITIONS)
            ]
            for entry in changelog.batch(changes, len(self._material.controls) - 1, PARTITIONS, owner):
                yield (partition, *entry)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Have the worker run, its states restored and a few events folded, while the block runs."""

        async def finished() -> bool:
            return self._finished.is_set()

        self._running = asyncio.create_task(time_run("scaling_child", self.assignment, finished, _SECONDS))
        try:
            await self.fold(min(WARM_EVENTS, len(self._material.events)))
            yield
            self._finished.set()
            await self._running
        finally:
            self._running.cancel()
            await asyncio.wait([self._running])

    @property
    def resident_mb(self) -> float:
        """What the worker held in memory at its end."""
        assert self._running is not None
        return self._running.result().resident_mb

    async def turn(self, events: int) -> Cost:
        """Fold the next events and return what they cost."""
        pid = json.loads(self.assignment.mark.read_text())["pid"]
        used = cpu_seconds(pid)
        await self.fold(events)
        return Cost(self.customers, events, cpu_seconds(pid) - used)

    async def fold(self, events: int) -> None:
        """Append the next events, and wait until the worker has committed them."""
        cluster, at = self._cluster, self.assignment
        items = []
        for event in self._material.events[self._folded : self._folded + events]:
            customer = self._chance.randrange(self.customers)
            items.append((customer % PARTITIONS, self.key(customer), event.value, event.headers))
        self._folded += events
        self._sent += items
        await cluster.fill(at.source, items)
        ends = {p: end for p, end in (await cluster.ends(at.source)).items() if end > len(self._material.controls)}
        while await cluster.committed(at.group, at.source) != ends:
            assert self._running is not None
            if self._running.done():
                self._running.result()  # raises, with the end of the worker's log
            await asyncio.sleep(0.1)

    def expected(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Fold what was sent one after the other; return touched states and outputs, as `found` does."""
        step = Core(DOCUMENTS)
        tables = [_Table(self._material) for _ in range(PARTITIONS)]
        offsets = [0] * PARTITIONS
        outputs: dict[Any, Any] = {}
        for partition, key, value, headers in self._sent:
            offset = offsets[partition]
            offsets[partition] += 1
            record = Record(self.assignment.source, partition, offset, 0, key, value, list(headers))
            for index, output in enumerate(step(tables[partition], record)):
                outputs[b"%d/%d/%d" % (partition, offset, index)] = tuple(output[:3])
        states = {
            (partition, key): STATE_CODEC.encode(state)
            for partition, table in enumerate(tables)
            for key, state in table.items()
        }
        return states, outputs

    async def judge(self, given: Sequence[Any]) -> list[str]:
        """Say what is wrong with the changelog behind what was filled in, and with the outputs that are this one's."""
        states: dict[Any, Any] = {}
        async for record in self._cluster.read(self.assignment.changelog, self._filled):
            if not record.key.startswith(changelog.OWN):
                states[record.partition, record.key] = record.value
        outputs = {
            names.first(record.headers, names.POSITION): (record.topic, record.key, record.value) for record in given
        }
        expected_states, expected_outputs = await asyncio.to_thread(self.expected)
        what = f"{self.customers:,} customers"
        return [
            *differences(f"{what}: states", states, expected_states),
            *differences(f"{what}: outputs", outputs, expected_outputs),
            *repetitions(f"{what}: outputs", len(given), len(outputs)),
        ]


class _Table(core.Table):
    """Decoded states of one partition; those of customers who have not been touched are looked up when asked for."""

    def __init__(self, material: Material) -> None:
        super().__init__()
        self._material = material

    def get(self, key: bytes, default: Any = None) -> Any:
        state = super().get(key, default)
        if state is not None:
            return state
        if key == PARTITION_KEY:
            return STATE_CODEC.decode(self._material.partition)
        return STATE_CODEC.decode(self._material.states[number_of(key) % len(self._material.states)])


class Result(NamedTuple):
    """What all turns cost, what the workers held in memory at their end, and what was wrong."""

    turns: Sequence[Cost]
    resident_mb: dict[int, float]
    state_bytes: float
    wrong: Sequence[str]


async def bench(cluster: Cluster, home: Path, sizes: Sequence[int], events: int, rounds: int) -> Result:
    """Let the workers of all numbers of customers take turns."""
    material = Material(min(WARM_EVENTS, events) + rounds * events)
    await cluster.create(dict.fromkeys(_OUTPUTS, 3))
    contenders = [Contender(cluster, home, size, number, material) for number, size in enumerate(sizes)]
    turns = []
    async with contextlib.AsyncExitStack() as running:
        for contender in contenders:
            await contender.fill()
            await running.enter_async_context(contender.working())
        for _ in range(rounds):
            for contender in contenders:
                turns.append(await contender.turn(events))
    given: dict[bytes, list[Any]] = defaultdict(list)
    for topic in _OUTPUTS:
        async for record in cluster.read(topic):
            given[(record.key or b"")[:2]].append(record)
    wrong = [fault for contender in contenders for fault in await contender.judge(given.pop(contender.tag, []))]
    wrong += [f"{len(others)} outputs of no customer of ours" for others in given.values()]
    memory = {contender.customers: contender.resident_mb for contender in contenders}
    return Result(turns, memory, material.state_bytes, wrong)


def as_table(result: Result) -> str:
    """Return a row for each number of customers, medians of its turns, and what was asked."""
    costs: dict[int, list[Cost]] = defaultdict(list)
    for turn in result.turns:
        costs[turn.customers].append(turn)
    medians = {size: statistics.median(turn.microseconds for turn in own) for size, own in costs.items()}
    first = next(iter(medians.values()))
    lines = [f"{'customers':>10} {'turns':>5} {'events':>9} {'us an event':>11} {'best':>8} {'ratio':>6} {'MB':>7}"]
    for size, own in costs.items():
        best = min(turn.microseconds for turn in own)
        lines.append(
            f"{size:>10,} {len(own):>5} {own[0].events:>9,} {medians[size]:>11.1f} {best:>8.1f} "
            f"{medians[size] / first:>6.2f} {result.resident_mb[size]:>7,.0f}"
        )
    lines.append(f"states of {result.state_bytes:.0f} bytes at first; MB: resident at the end, the process included")
    few, many = ASKED_OF
    if few in medians and many in medians:
        ratio = medians[many] / medians[few]
        verdict = "met" if ratio <= ASKED else "MISSED"
        lines.append(f"asked: {many:,} customers at most {ASKED:.1f} times {few:,}: {verdict} at {ratio:.2f}")
    else:
        lines.append(f"asked is a ratio of {many:,} to {few:,} customers, which were not measured")
    return "\n".join(lines)
