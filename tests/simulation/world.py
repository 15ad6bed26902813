"""One run: a seed draws what comes in, what the network is like and what goes wrong; all of it is checked."""

import asyncio
import dataclasses
import logging
import random
from collections.abc import Sequence
from typing import Any

from agents.engine import changelog
from agents.engine.errors import Refused
from agents.engine.job import Job
from agents.engine.records import PlainEntry
from agents.engine.restore import restore
from tests.simulation import judge
from tests.simulation.cluster import Client, Cluster, Place, Weather
from tests.simulation.group import SESSION_SECONDS, Group
from tests.simulation.judge import CHANGELOG, SOURCE, Content, Expected
from tests.simulation.loop import PROCESS, Loop
from tests.simulation.worker import Worker

TIDY_SECONDS = 15.0
"""How often the brokers compact."""
HOUR_MS = 3_600_000
END_SECONDS = 900.0
"""So long after the last trouble everything must be folded."""


class Wrong(AssertionError):
    """What the run must never do."""


@dataclasses.dataclass(slots=True)
class World:
    """The state of one run."""

    seed: int
    the_job: Job = dataclasses.field(default_factory=judge.job)
    losing: bool = False
    """Whether changelogs are lost, too, or lose their end, and leaders are cut off."""
    lost: bool = False
    """Whether one was."""
    rng: random.Random = dataclasses.field(init=False)
    loop: Loop = dataclasses.field(init=False)
    cluster: Cluster = dataclasses.field(init=False)
    group: Group = dataclasses.field(init=False)
    workers: dict[str, Worker] = dataclasses.field(default_factory=dict)
    entries: list[list[Any]] = dataclasses.field(default_factory=list)
    expected: list[Expected] = dataclasses.field(default_factory=list)
    emitted: dict[bytes, Content] = dataclasses.field(default_factory=dict)
    durable: dict[int, int] = dataclasses.field(default_factory=dict)
    newest: dict[tuple[Place, int], tuple[int, int]] = dataclasses.field(default_factory=dict)
    checked: dict[int, int] = dataclasses.field(default_factory=dict)
    wrong: list[str] = dataclasses.field(default_factory=list)
    started: int = 0
    tombstone_ms: int = 0
    """So long brokers keep tombstones: longer than nobody owns a partition, as `delete.retention.ms` must be."""
    troubles: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        self.loop = Loop()
        partitions = rng.choice((1, 2, 3))
        weather = Weather(
            slow_share=rng.choice((0.0, 0.02, 0.1)),
            slow=(0.05, rng.choice((0.5, 3.0, 12.0))),
            lost_ack_share=rng.choice((0.0, 0.0, 0.01, 0.05)),
            on_the_wire_share=rng.choice((0.2, 0.8)),
            latest=rng.choice((2.0, 30.0, 250.0)),
        )
        topics = {SOURCE: partitions, CHANGELOG: partitions, **judge.OUTPUTS}
        self.cluster = Cluster(self.loop, rng, topics, weather, self._landed)
        self.group = Group(self.cluster, partitions, self._check_commit)
        keys = rng.choice((2, 5, 9))
        self.tombstone_ms = rng.choice((60_000, 600_000))
        self.entries = [judge.source(rng, rng.randrange(20, 120), keys) for _ in range(partitions)]
        self.expected = [Expected(number, entries) for number, entries in enumerate(self.entries)]

    def run(self) -> None:
        """Run to the end; raise Wrong with the trace where a promise is broken."""
        handler = _Trace(self.cluster)
        engine_log = logging.getLogger("agents.engine")
        level, engine_log.propagate = engine_log.level, False
        engine_log.setLevel(logging.INFO)
        engine_log.addHandler(handler)
        try:
            self.loop.run(self._main())
        except AssertionError as error:
            raise Wrong(self.told(str(error))) from error
        finally:
            engine_log.removeHandler(handler)
            engine_log.setLevel(level)
            engine_log.propagate = True

    def told(self, what: str) -> str:
        """Return what is wrong, what happened before it, and how to see it again."""
        trace = "\n".join(self.cluster.trace)
        return (
            f"seed {self.seed}: {what}\ntroubles: {', '.join(self.troubles) or 'none'}\n{trace}\n"
            f"seed {self.seed}: {what}\nagain: python -m tests.simulation --seed {self.seed}"
            f"{' --losing' if self.losing else ''}"
        )

    # -- the run

    async def _main(self) -> None:
        background = [
            asyncio.create_task(self.group.run()),
            asyncio.create_task(self._tidy()),
            *(asyncio.create_task(self._come_in(number)) for number in range(len(self.entries))),
        ]
        for _ in range(self.rng.choice((1, 2, 2, 3))):
            self.start_worker()
        for _ in range(self.rng.randrange(1, 7)):
            await self._pause(self.rng.uniform(0, 12))
            await self._trouble()
        for worker in self.workers.values():
            self.loop.thaw(worker.process)
        if not self.workers:
            self.start_worker()
        self.cluster.weather = Weather()
        await self._until_calm()
        self.cluster.say("world", "everything is folded")
        await self._verdict()
        self.cluster.closed = True
        for task in background:
            task.cancel()

    async def _pause(self, seconds: float) -> None:
        """Let time pass; stop where something was found wrong."""
        end = self.loop.time() + seconds
        while True:
            assert not self.wrong, self.wrong[0]
            if self.loop.time() >= end:
                return
            await asyncio.sleep(min(1.0, end - self.loop.time()))

    async def _come_in(self, number: int) -> None:
        """Append what comes in, in bursts."""
        left = list(self.entries[number])
        while left:
            burst = self.rng.choice((1, 2, 5, 20))
            self.cluster.append_now(SOURCE, number, left[:burst], "source")
            del left[:burst]
            await asyncio.sleep(self.rng.choice((0.01, 0.3, 2.0)))

    async def _tidy(self) -> None:
        """Compact the changelogs, as the brokers do now and then."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            store = self.cluster.store
            store.clock_ms = self.cluster.now_ms()
            for number in range(len(self.entries)):
                store.compact(CHANGELOG, number, lag_ms=self.the_job.compaction_lag_ms, tombstone_ms=self.tombstone_ms)

    async def _until_calm(self) -> None:
        """Wait until everything is folded and committed, and every process is at work on what the group gave it."""
        deadline = self.loop.time() + END_SECONDS
        while not self._is_calm():
            assert self.loop.time() < deadline, f"not at rest {END_SECONDS:.0f} s after the last trouble"
            await self._pause(1.0)

    def _is_calm(self) -> bool:
        ends = {number: len(entries) for number, entries in enumerate(self.entries)}
        held: dict[int, int] = {}
        for worker in self.workers.values():
            if worker.generation != self.group.generation or not worker.engine.takes_runs:
                return False
            held |= worker.engine.durable()
        return self.group.is_settled and self.group.committed == ends == held

    # -- processes, and what happens to them

    def start_worker(self, *, rebuild: bool = False) -> None:
        """Start one more process."""
        self.started += 1
        rng = random.Random(self.rng.random())
        latencies = rng.choice(((0.0, 0.001, 0.05), (0.01, 1.0)))
        worker = Worker(
            f"w{self.started}",
            self.the_job,
            loop=self.loop,
            cluster=self.cluster,
            group=self.group,
            latency=lambda: rng.choice(latencies),
            on_fatal=self._on_fatal,
            skew_ms=self.rng.choice((0, 0, -HOUR_MS, HOUR_MS)),
            rebuild=rebuild,
        )
        self.workers[worker.name] = worker
        self.cluster.say("world", f"starts {worker.name}")
        worker.start()

    def kill(self, worker: Worker, *, late: float | None = None) -> None:
        """End a process at once; the group finds out by its silence. What it was sending arrives `late`, or perhaps."""
        self.cluster.say("world", f"kills {worker.name}")
        worker.process.dead = True
        worker.client.die(late)
        self.workers.pop(worker.name, None)

    def kill_all(self) -> None:
        """Kill every process."""
        for worker in list(self.workers.values()):
            self.kill(worker)

    def _on_fatal(self, worker: Worker, error: BaseException) -> None:
        self.cluster.say(worker.name, f"ends: {error}")
        if self._is_told_of_the_loss(error):
            self.kill(worker)
            self.start_worker(rebuild=True)  # as it says
            return
        self.wrong.append(f"{worker.name} ended by itself: {type(error).__name__}: {error}")

    def _is_told_of_the_loss(self, error: BaseException) -> bool:
        return self.lost and isinstance(error, Refused) and "--rebuild" in str(error)

    async def _trouble(self) -> None:
        kinds = (
            "kill",
            "kill",
            "freeze",
            "freeze",
            "stand still",
            "join",
            "leave",
            "nobody",
            "all frozen",
            "zombie",
            "zombie",
        )
        kind = self.rng.choice((*kinds, *["lose", "cut off"] * 6) if self.losing else kinds)
        self.troubles.append(kind)
        worker = self.rng.choice(list(self.workers.values())) if self.workers else None
        if kind == "kill" and worker is not None:
            self.kill(worker)
            await self._pause(self.rng.choice((0.0, 1.0, 15.0)))
            self.start_worker()
        elif kind == "zombie" and worker is not None:
            await self._zombie(worker)
        elif kind == "freeze" and worker is not None:
            await self._freeze([worker], self._seconds(1.0, 8.0, 15.0, 40.0, 150.0))
        elif kind == "lose":
            await self._lose(worker)
        elif kind == "cut off":
            await self._cut_off()
        elif kind == "stand still":
            seconds = self.rng.choice((2.0, 12.0, 45.0))
            self.cluster.say("world", f"brokers stand still for {seconds:.0f} s")
            self.cluster.stand_still(seconds)
        elif kind == "leave" and worker is not None:
            self.cluster.say("world", f"{worker.name} is asked to end")
            worker.leaving = True
            del self.workers[worker.name]
            if not self.workers:
                await self._pause(self.rng.uniform(0, 5))
                self.start_worker()
        elif kind == "nobody":
            await self._nobody()
        elif kind == "all frozen":
            await self._freeze(list(self.workers.values()), self._seconds(12.0, 150.0))
        else:
            self.start_worker()

    def _seconds(self, *choices: float) -> float:
        """Return for how long nobody may be at work: shorter than brokers keep tombstones."""
        return self.rng.choice([seconds for seconds in choices if seconds < self.tombstone_ms / 1_000])

    async def _nobody(self) -> None:
        """Kill every process and leave the partitions to the brokers for a while."""
        self.kill_all()
        await self._pause(self._seconds(20.0, 200.0, 400.0))
        self.start_worker()

    async def _zombie(self, worker: Worker) -> None:
        """Kill a process whose states are on the wire; they arrive when another owns its partitions, or soon after."""
        await asyncio.wait([worker.client.watch(_has_states)], timeout=10)
        late = self.rng.choice((self.rng.uniform(0.0, 60.0), SESSION_SECONDS + self.rng.uniform(0.0, 0.8)))
        self.kill(worker, late=late)
        self.start_worker()
        await self._pause(late)
        if self.rng.random() < 0.5:
            await self._pause(self.rng.choice((0.0, 0.5, 3.0)))
        elif self.workers:  # whoever begins to repair what came late dies over it
            repairs = [found.client.watch(_has_claim) for found in self.workers.values()]
            await asyncio.wait(repairs, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(self.rng.uniform(0.0, 0.1))
        if self.rng.random() < 0.5:
            await self._nobody()
        else:  # whoever owns them now lives long enough for compaction to have its way, and dies
            await self._pause(self.rng.choice((0.0, 200.0)))
            self.kill_all()
            self.start_worker()

    async def _lose(self, worker: Worker | None) -> None:
        """Lose a changelog, while its owner writes to it, or it is dead, or has an append on the wire."""
        if worker is not None and self.rng.random() < 0.5:
            await asyncio.wait([worker.client.watch(_has_states)], timeout=10)
        if worker is not None and self.rng.random() < 0.3 and worker.name in self.workers:
            self.kill(worker, late=self.rng.choice((0.01, 3.0)))
            self.start_worker()
        number = self.rng.randrange(len(self.entries))
        younger_than = self.rng.choice((None, 0.2, 5.0))
        self.cluster.say("world", f"loses changelog/{number}, what is younger than {younger_than} s")
        self.lost = True
        self.cluster.lose(CHANGELOG, number, younger_than=younger_than)
        await self._pause(self.rng.choice((0.0, 5.0)))

    async def _cut_off(self) -> None:
        """Let old leaders tell old ends for a while, and partitions change hands meanwhile."""
        seconds = self.rng.choice((2.0, 8.0, 25.0))
        self.cluster.say("world", f"leaders are cut off for {seconds:.0f} s")
        for topic in (SOURCE, CHANGELOG):
            for number in range(len(self.entries)):
                if self.rng.random() < 0.5:
                    await self.cluster.cut_off(topic, number, seconds)
        await self._pause(self.rng.uniform(0, seconds))
        self.start_worker()

    async def _freeze(self, workers: Sequence[Worker], seconds: float) -> None:
        names = ", ".join(worker.name for worker in workers)
        self.cluster.say("world", f"freezes {names} for {seconds:.0f} s")
        for worker in workers:
            self.loop.freeze(worker.process)
        if self.rng.random() < 0.5 and seconds > 10:  # somebody takes over meanwhile
            self.start_worker()
        await self._pause(seconds)
        self.cluster.say("world", f"thaws {names}")
        for worker in workers:
            self.loop.thaw(worker.process)

    # -- what must hold at every moment

    def _landed(self, place: Place, base: int, entries: Sequence[PlainEntry], by: str) -> None:
        topic, number = place
        if topic == SOURCE:
            return
        if topic == CHANGELOG:
            positions = {changelog.fence_of(_Fenced(entry[2])) for entry in entries}
            position = max(positions)
            self.cluster.say(by, f"changelog/{number} {base}+{len(entries)} at position {position}")
            self.durable[number] = max(self.durable.get(number, -1), position)
            return
        for entry in entries:
            self._emitted(place, entry, by)

    def _emitted(self, place: Place, entry: PlainEntry, by: str) -> None:
        position, (partition, offset, index) = judge.position_of(entry)
        content = (place[0], entry[0], entry[1])
        if position not in self.emitted:
            before = self.newest.get((place, partition))
            if before is not None and before > (offset, index):
                self.wrong.append(f"output {position.decode()} came after {before} in {place}")
            self.newest[place, partition] = (offset, index)
        self.cluster.say(by, f"output {position.decode()} {content[2]!r}")
        if self.emitted.setdefault(position, content) != content:
            self.wrong.append(f"output {position.decode()} has two contents: {self.emitted[position]} and {content}")

    def _check_commit(self, partition: int, offset: int) -> None:
        self.cluster.say("group", f"{partition} is committed at {offset}")
        if offset > self.durable.get(partition, -1) + 1:
            self.wrong.append(
                f"{partition} is committed at {offset}, its changelog ends at {self.durable.get(partition)}"
            )
        outputs = self.expected[partition].outputs
        number = self.checked.get(partition, 0)
        while number < len(outputs) and outputs[number][0] < offset:
            if outputs[number][1] not in self.emitted:
                self.wrong.append(f"{partition} is committed at {offset}, output {outputs[number][1]!r} is not there")
            number += 1
        self.checked[partition] = number

    async def _verdict(self) -> None:
        """Compare the end with the sequential fold: what owners hold, what a restore finds, what was sent."""
        assert not self.loop.unhandled, self.loop.unhandled[0]
        outputs = {position: content for one in self.expected for _, position, content in one.outputs}
        assert self.emitted == outputs, f"outputs differ: {sorted(self.emitted.items() ^ outputs.items())[:3]}"
        for worker in self.workers.values():
            for number, partition in worker.engine.partitions.items():
                found = judge.differences(self.expected[number].states, _states(partition.table))
                assert not found, f"{worker.name} holds partition {number} where {found}"
        counts = {SOURCE: len(self.entries), **judge.OUTPUTS}
        reader = Client(self.cluster, "judge")
        for number, expected in enumerate(self.expected):
            try:
                owned = await restore(
                    self.the_job, reader, number, committed=self.group.committed.get(number), counts=counts
                )
            except Refused as error:
                if not self._is_told_of_the_loss(error):
                    raise
                continue
            found = judge.differences(expected.states, _states(owned.table))
            assert not found, f"a restore of partition {number} finds that {found}"
            assert owned.position == len(self.entries[number]) - 1, f"a restore of {number} ends at {owned.position}"


def _has_states(entries: Sequence[PlainEntry]) -> bool:
    return len(entries) > 1  # more than a watermark


def _has_claim(entries: Sequence[PlainEntry]) -> bool:
    return any(key is not None and key.startswith(changelog.CLAIM) for key, _, _ in entries)


@dataclasses.dataclass(slots=True)
class _Fenced:
    """As much of a record as a fence is read from."""

    headers: Sequence[tuple[str, bytes]]
    topic: str = CHANGELOG
    partition: int = 0
    offset: int = 0


def _states(table: Any) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key in table if (value := table.at_rest(key)) is not None]


class _Trace(logging.Handler):
    """What the engine says, in the trace."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        self._cluster.say("-" if process is None else process.name, record.getMessage())
