"""The engine over several partitions: trouble in one is healed in place, or the partition is given up."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from agents.engine import changelog
from agents.engine.errors import Refused, SendAbandoned
from agents.engine.memory import MemoryLog
from agents.engine.worker import Engine
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, OUT, SOURCE
from tests.agents.engine.test_partition import until

PARTITIONS = 3


class FakeConsumer:
    """Feeds an engine from a memory log as the transport does: numbered fetches, seeks, commits."""

    def __init__(self, log: MemoryLog, engine: Engine, seed: int) -> None:
        self.log = log
        self.engine = engine
        self.rng = random.Random(seed)
        self.serial = 0
        self.positions: dict[int, int] = {}
        self.commits: dict[int, int] = {}
        self.owner = True
        self.fatal: list[BaseException] = []
        engine.bind(self, self.on_fatal)

    async def on_fatal(self, error: BaseException) -> None:
        self.fatal.append(error)

    async def committed(self, partition: int) -> int | None:
        return self.commits.get(partition)

    async def check_ownership(self) -> bool:
        return self.owner

    async def rewind(self, positions: Mapping[int, int]) -> int:
        await asyncio.sleep(0)
        self.positions.update(positions)
        return self.serial

    def fetch(self) -> None:
        self.serial += 1
        for number, position in list(self.positions.items()):
            if not self.engine.wants(number):
                continue
            records = [r for r in self.log.records(SOURCE, number) if r.offset >= position][: self.rng.randint(1, 40)]
            if records:
                self.positions[number] = records[-1].offset + 1
                self.engine.submit(number, records, self.serial)

    async def run_until_done(self) -> None:
        ends = {number: (await self.log.bounds(SOURCE, number)).end for number in range(PARTITIONS)}
        async with asyncio.timeout(60):
            while self.engine.durable() != ends and not self.fatal:
                self.fetch()
                self.commits.update(self.engine.durable())
                await asyncio.sleep(0.001)


class TroubledLog(MemoryLog):
    """Now and then an append is not acknowledged, whether it landed or not; abandoning is counted."""

    def __init__(self, *args: Any, rng: random.Random, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rng = rng
        self.rate = 0.0
        self.abandoned = 0

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        await asyncio.sleep(0)
        lost = self.rng.random() < self.rate
        if lost and self.rng.random() < 0.5:
            raise SendAbandoned("no acknowledgement, and it did not land")
        base = self.append_now(topic, partition, entries)
        if lost:
            raise SendAbandoned("no acknowledgement, though it landed")
        return base

    async def abandon(self) -> None:
        self.abandoned += 1


async def start(seed: int) -> tuple[TroubledLog, Engine, FakeConsumer]:
    log = TroubledLog({SOURCE: PARTITIONS, OUT: 2, counting.DLQ: 1, CHANGELOG: PARTITIONS}, rng=random.Random(seed))
    for number in range(PARTITIONS):
        counting.fill(log, 300, seed + number, partition=number)
    engine = Engine(counting.job(max_batch_records=20), log)
    consumer = FakeConsumer(log, engine, seed)
    consumer.positions = await engine.assign(range(PARTITIONS))
    engine.admit(0)
    return log, engine, consumer


async def judge(log: MemoryLog, engine: Engine) -> None:
    """Compare every partition's restored state, and all outputs, with sequential folds."""
    expected: dict[bytes, tuple[Any, ...]] = {}
    for number in range(PARTITIONS):
        states, outputs = counting.sequential(log, counting.job(), number)
        expected |= outputs
        scan = changelog.Restored()
        found = dict(scan.scan(log.records(CHANGELOG, number)))
        assert {key: value for key, value in found.items() if value is not None} == states
    assert counting.emitted(log) == expected
    await engine.stop()


@pytest.mark.parametrize("seed", range(30))
async def test_abandoned_sends_are_healed_in_place(seed: int) -> None:
    """Sends that are not acknowledged cost a restore from the logs, never an event, and no leaving of the group."""
    log, engine, consumer = await start(seed)
    log.rate = 0.02
    await consumer.run_until_done()
    assert not consumer.fatal
    log.rate = 0.0
    await judge(log, engine)
    assert log.abandoned > 0


async def test_a_zombies_append_is_healed_in_place() -> None:
    """An owner that finds a foreign append restores, repairs and goes on, as long as the group counts on it."""
    log, engine, consumer = await start(100)
    for _ in range(5):
        consumer.fetch()
        await asyncio.sleep(0.003)
    log.append_now(CHANGELOG, 1, changelog.batch([(b"key-1", b'{"count": 1, "sum": -1}')], 2, PARTITIONS, b"z" * 16))
    await consumer.run_until_done()
    assert not consumer.fatal
    await judge(log, engine)


async def test_a_worker_that_is_no_member_gives_up_its_partitions() -> None:
    """If the group has moved on, nothing more is appended by the former owner."""
    log, engine, consumer = await start(200)
    consumer.owner = False
    log.append_now(CHANGELOG, 0, changelog.batch([], 0, PARTITIONS, b"z" * 16))
    for _ in range(20):
        consumer.fetch()
        await asyncio.sleep(0.005)
    await until(lambda: not engine.partitions)
    before = [len(log.records(CHANGELOG, number)) for number in range(PARTITIONS)]
    consumer.fetch()
    await asyncio.sleep(0.1)
    assert [len(log.records(CHANGELOG, number)) for number in range(PARTITIONS)] == before
    assert not consumer.fatal


async def test_a_refused_restore_ends_the_process_with_its_remedy() -> None:
    """A healing that must not go on (here: the source lost its beginning) is fatal and says what to do."""
    log, engine, consumer = await start(300)
    consumer.fetch()
    await asyncio.sleep(0.01)
    log.truncate(SOURCE, 2, 10_000)
    log._ends[SOURCE, 2] = 10_000
    log.append_now(CHANGELOG, 2, changelog.batch([], 0, PARTITIONS, b"z" * 16))
    await until(lambda: bool(consumer.fatal))
    assert isinstance(consumer.fatal[0], Refused)
    assert "truncated" in str(consumer.fatal[0])
    await engine.stop()


async def test_revocation_keeps_what_was_drained() -> None:
    """After a clean drain the state is taken up again without reading the changelog from its start."""
    log, engine, consumer = await start(400)
    await consumer.run_until_done()
    await engine.revoke()
    engine.forget()
    reads: list[int] = []
    original = log.read

    def read(topic: str, partition: int, begin: int, end: int) -> Any:
        reads.append(begin)
        return original(topic, partition, begin, end)

    log.read = read  # type: ignore[method-assign]
    positions = await engine.assign(range(PARTITIONS))
    assert positions == dict.fromkeys(range(PARTITIONS), 300)
    assert all(begin > 0 for begin in reads)
    await judge(log, engine)


async def test_what_waits_is_counted_and_bounded() -> None:
    """While nothing can be folded a worker asks for no more records than two batches of a partition."""

    class Later(Exception):
        retry_later = True

    def blocked(_table: Any, _record: Any) -> list[Any]:
        raise Later

    log = counting.memory_log()
    counting.fill(log, 400, seed=9)
    engine = Engine(counting.job(step=blocked, max_batch_records=20), log)
    consumer = FakeConsumer(log, engine, 1)
    await engine.take_up([0])
    assert engine.wants(0)
    for _ in range(20):
        consumer.fetch()
        await asyncio.sleep(0)
    await until(lambda: engine.partitions[0].blocked is not None)
    assert not engine.wants(0)
    assert 40 <= engine.partitions[0].queued <= 80
    await engine.stop()
