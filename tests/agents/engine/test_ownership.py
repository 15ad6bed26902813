"""Whose a partition is: what a revocation may keep, what a claim must notice, what may be submitted twice."""

import asyncio
import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, IllegalStateError, UnknownError

from agents.engine import changelog, transport
from agents.engine.errors import OffsetGone, SendAbandoned, Superseded
from agents.engine.memory import MemoryLog
from agents.engine.partition import send_all
from agents.engine.records import Entry
from agents.engine.worker import Engine
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, OUT, SOURCE
from tests.agents.engine.test_partition import Running, states, until
from tests.agents.engine.test_worker import PARTITIONS, FakeConsumer, judge, start


class SilentLog(MemoryLog):
    """Acknowledges no append to the changelog while it is silent, whether or not the append lands."""

    silent = False
    abandoned = 0

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        await asyncio.sleep(0)
        if self.silent and topic == CHANGELOG:
            await asyncio.Event().wait()
        return self.append_now(topic, partition, entries)

    async def abandon(self) -> None:
        self.abandoned += 1


async def test_a_state_that_was_not_drained_is_not_kept() -> None:
    """A revocation that times out abandons its sends and forgets its states: they are ahead of the changelog."""
    log = SilentLog({SOURCE: PARTITIONS, OUT: 2, counting.DLQ: 1, CHANGELOG: PARTITIONS})
    for number in range(PARTITIONS):
        counting.fill(log, 200, 500 + number, partition=number)
    engine = Engine(counting.job(max_batch_records=20, drain_seconds=0.05), log)
    consumer = FakeConsumer(log, engine, 1)
    consumer.positions = await engine.assign(range(PARTITIONS))
    engine.admit(0)
    for _ in range(5):
        consumer.fetch()
        await asyncio.sleep(0.003)
    log.silent = True
    for _ in range(20):
        consumer.fetch()
        await asyncio.sleep(0.003)
    assert any(partition.folded > partition.durable for partition in engine.partitions.values())
    await engine.revoke()
    engine.forget()
    assert log.abandoned == 1
    log.silent = False
    consumer.positions = await engine.assign(range(PARTITIONS))
    engine.admit(consumer.serial)
    await consumer.run_until_done()
    await judge(log, engine)


async def test_a_claim_notices_who_came_between() -> None:
    """An append between the scan of a restore and its claim is read too, before the partition is owned."""

    log = counting.Raced({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    log.append_now(SOURCE, 0, [Entry(b"k", b"1", []), Entry(b"k", b"2", [])])
    before = [Entry(b"k", b'{"count": 1, "sum": 1}', [])]
    log.append_now(CHANGELOG, 0, changelog.batch([(entry.key, entry.value) for entry in before], 0, 1, b"a" * 16))
    log.late = changelog.batch([(b"k", b'{"count": 2, "sum": 3}')], 1, 1, b"b" * 16)
    owned = await counting.restored(log, counting.job(), 1)
    assert owned.position == 1
    assert owned.table.at_rest(b"k") == b'{"count": 2, "sum": 3}'
    assert owned.changelog_next == (await log.bounds(CHANGELOG, 0)).end


async def test_what_is_submitted_twice_is_folded_once() -> None:
    """Runs that overlap what was folded, as after a rewind, count once."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=8)
    expected, outputs = counting.sequential(log, counting.job())
    running = Running(log, counting.job(max_batch_records=10), await counting.restored(log, counting.job()))
    running.partition.start()
    records = log.records(SOURCE, 0)
    rng = random.Random(8)
    for begin in range(0, 100, 10):
        running.partition.submit(records[max(0, begin - rng.randrange(15)) : begin + 10])
        await asyncio.sleep(0.001)
    await until(lambda: running.partition.durable == 99)
    assert await running.partition.drain()
    assert states(running) == expected
    assert counting.emitted(log) == outputs


async def test_a_clean_owner_hands_over() -> None:
    """What one process drained, another takes up from the changelog and brings to the same end."""
    log, engine, consumer = await start(600)
    for _ in range(6):
        consumer.fetch()
        await asyncio.sleep(0.002)
    await engine.revoke()
    committed = engine.durable()
    engine.forget()
    second = Engine(counting.job(max_batch_records=20), log)
    heir = FakeConsumer(log, second, 601)
    heir.commits = committed
    heir.positions = await second.assign(range(PARTITIONS))
    second.admit(0)
    await heir.run_until_done()
    await judge(log, second)


async def test_what_was_committed_is_committed_again_after_a_recovery() -> None:
    """A recovery asks the group by an offset that it was told earlier, which may set it back: it is told once more."""
    _, engine, consumer = await start(600)
    await consumer.run_until_done()
    durable = engine.durable()
    assert engine.uncommitted() == durable
    engine.told(durable)
    assert engine.uncommitted() == {}
    engine.told({99: 1})  # a partition that was given up meanwhile
    consumer.positions = await engine.assign(range(PARTITIONS))
    assert engine.uncommitted() == durable
    await engine.stop()


async def test_a_commit_that_fails_otherwise_says_nothing_about_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked whether the group counts on it, a worker asks until there is an answer: else it would wait for ever."""
    monkeypatch.setattr(transport, "_ASK_AGAIN_SECONDS", 0.0)
    answers: list[BaseException | bool] = [UnknownError(), GroupAuthorizationFailedError(), True, UnknownError(), False]

    class Thread:
        async def _taken(self, _: Any) -> bool:
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    thread: Any = Thread()
    assert await transport.ConsumerThread.is_member(thread, {})
    assert not await transport.ConsumerThread.is_member(thread, {})
    assert await transport.ConsumerThread._commit(SimpleNamespace(_taken=_unknown), {}) is False


async def _unknown(_: Any) -> bool:
    raise UnknownError


class Overtaken(FakeConsumer):
    """Its partitions are given up while they are sought; it refuses the seek if it has an error for that."""

    error: Exception | None = None

    async def rewind(self, positions: Any) -> int:
        await self.engine.revoke()
        if self.error is not None:
            raise self.error
        return await super().rewind(positions)


async def test_a_seek_that_was_overtaken_ends_nothing() -> None:
    """Partitions are given out anew while a restored one is sought: the consumer refuses, which is no failure then."""
    log = counting.memory_log()
    engine = Engine(counting.job(), log)
    Overtaken(log, engine, 1).error = IllegalStateError("no assignment")
    with pytest.raises(Superseded):
        await engine.take_up([0])
    await engine.stop()


async def test_a_seek_that_was_overtaken_lets_nothing_in() -> None:
    """Partitions are given up while a restored one is sought: no run is taken until the next are restored."""
    log = counting.memory_log()
    engine = Engine(counting.job(), log)
    Overtaken(log, engine, 1)
    await engine.take_up([0])
    assert not engine.takes_runs
    await engine.stop()


async def test_a_source_that_is_not_trusted_is_looked_at_once() -> None:
    """Word that it lacks an offset restores what is owned, without leaving the group; while restoring it is no news."""
    log, engine, consumer = await start(600)
    await consumer.run_until_done()
    engine.distrust(OffsetGone("source/0 at 301"))
    await asyncio.sleep(0)
    assert not engine.takes_runs
    engine.distrust(OffsetGone("source/0 at 301"))
    await until(lambda: engine.takes_runs)
    assert engine.recoveries == 1
    for number in range(PARTITIONS):
        counting.fill(log, 50, 700 + number, partition=number)
    await consumer.run_until_done()
    await judge(log, engine)
    await engine.stop()
    idle = Engine(counting.job(), log)
    FakeConsumer(log, idle, 1)
    idle.distrust(OffsetGone("source/0 at 301"))
    await asyncio.sleep(0.01)
    assert idle.recoveries == 0


async def test_what_follows_a_failed_send_is_never_sent() -> None:
    """Two batches go to one destination and the first fails: the second waits until it is given up with it."""

    class Failing(MemoryLog):
        async def append(self, topic: str, partition: int, entries: Any) -> int:
            if entries[0].value == b"first":
                raise SendAbandoned("no acknowledgement")
            return await super().append(topic, partition, entries)

    log = Failing({OUT: 1})
    first, second = asyncio.Event(), asyncio.Event()
    with pytest.raises(SendAbandoned):
        await send_all(log, {(OUT, 0): [Entry(b"k", b"first", [])]}, {(OUT, 0): (None, first)})
    later = asyncio.create_task(send_all(log, {(OUT, 0): [Entry(b"k", b"second", [])]}, {(OUT, 0): (first, second)}))
    done, _ = await asyncio.wait([later], timeout=0.05)
    assert not done
    assert log.records(OUT, 0) == []
    later.cancel()


async def test_between_two_long_folds_the_loop_looks_after_its_connections() -> None:
    """Heartbeats go out while every partition has a backlog: they wait for one batch, not for one of each partition."""
    happened: list[str] = []

    def step(table: Any, record: Any) -> list[Any]:
        happened.append(f"{record.partition}/{record.offset // 200}")
        return counting.count(table, record)

    log = MemoryLog({SOURCE: PARTITIONS, OUT: 2, counting.DLQ: 1, CHANGELOG: PARTITIONS})
    for number in range(PARTITIONS):
        counting.fill(log, 1_000, 900 + number, partition=number)
    engine = Engine(counting.job(max_batch_records=200, step=step), log)
    consumer = FakeConsumer(log, engine, 1)
    consumer.positions = await engine.assign(range(PARTITIONS))
    engine.admit(0)
    for number in range(PARTITIONS):
        engine.submit(number, log.records(SOURCE, number), 1)

    while any(partition.folded < 999 for partition in engine.partitions.values()):
        happened.append("loop")
        await asyncio.sleep(0)
    batches = [name for index, name in enumerate(happened) if name != happened[index - 1]]
    assert len(set(batches)) == 5 * PARTITIONS + 1
    assert all("loop" in (one, other) for one, other in itertools.pairwise(batches))
    await engine.stop()


class StalledLog(MemoryLog):
    """Acknowledges no output while it is stalled; abandoning fails what waits, as a killed producer does."""

    stalled = False
    abandoned = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.waiting: list[asyncio.Future[None]] = []

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        if self.stalled and topic in (OUT, counting.DLQ):
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            await future
        await asyncio.sleep(0)
        return self.append_now(topic, partition, entries)

    async def abandon(self) -> None:
        self.abandoned += 1
        for future in self.waiting:
            if not future.done():
                future.set_exception(SendAbandoned("abandoned"))
        self.waiting = []


async def stalled(**changes: Any) -> tuple[StalledLog, Engine, FakeConsumer]:
    """Return an engine at work whose outputs have just stopped to be acknowledged."""
    log = StalledLog({SOURCE: PARTITIONS, OUT: 2, counting.DLQ: 1, CHANGELOG: PARTITIONS})
    for number in range(PARTITIONS):
        counting.fill(log, 300, number, partition=number)
    engine = Engine(counting.job(max_batch_records=20, **changes), log)
    consumer = FakeConsumer(log, engine, 1)
    consumer.positions = await engine.assign(range(PARTITIONS))
    engine.admit(0)
    log.stalled = True
    for _ in range(6):
        consumer.fetch()
        await asyncio.sleep(0.002)
    return log, engine, consumer


def at_work() -> list[str]:
    """Return the partitions that have a task of their own."""
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("counting"))


async def test_what_was_given_up_stays_given_up() -> None:
    """A revocation that times out leaves no task of its partitions behind, and their late failures start nothing."""
    log, engine, _ = await stalled(drain_seconds=0.05)
    await engine.revoke()
    await asyncio.sleep(0.005)
    engine.forget()
    log.stalled = False
    await asyncio.sleep(0.1)
    before = [len(log.records(CHANGELOG, number)) for number in range(PARTITIONS)]
    await asyncio.sleep(0.2)
    assert [len(log.records(CHANGELOG, number)) for number in range(PARTITIONS)] == before
    assert log.abandoned == 1
    assert at_work() == []
    assert engine.partitions == {}


async def test_one_trouble_is_one_recovery() -> None:
    """Two batches in flight that fail together are healed once."""
    log, engine, consumer = await stalled()
    engine._on_trouble(engine.partitions[0], SendAbandoned("one"))
    log.stalled = False
    await consumer.run_until_done()
    assert log.abandoned == 1
    await judge(log, engine)


@pytest.mark.parametrize("answers", ["never", "just before"])
async def test_a_revocation_ends_a_recovery(answers: str) -> None:
    """Partitions are taken away while the group is asked whether it counts on us, or just after: none comes back."""
    log, engine, consumer = await start(600)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def check_ownership() -> bool:
        asked.set()
        await answer.wait()
        return True

    consumer.check_ownership = check_ownership  # type: ignore[method-assign]
    engine._on_trouble(engine.partitions[0], SendAbandoned("no acknowledgement"))
    async with asyncio.timeout(5):
        await asked.wait()
        if answers == "just before":
            answer.set()
            await asyncio.sleep(0)
        await engine.revoke()
    engine.forget()
    answer.set()
    ends = [await log.bounds(CHANGELOG, number) for number in range(PARTITIONS)]
    await asyncio.sleep(0.05)
    assert not engine.partitions
    assert not engine.takes_runs
    assert [await log.bounds(CHANGELOG, number) for number in range(PARTITIONS)] == ends


async def test_a_restore_that_was_overtaken_has_no_effect() -> None:
    """Partitions that are restored while the group gives them out anew are not owned, whatever comes when."""

    class Slow(MemoryLog):
        async def bounds(self, topic: str, partition: int) -> Any:
            if topic == CHANGELOG:
                await asyncio.sleep(0.01)
            return await super().bounds(topic, partition)

    log = Slow({SOURCE: PARTITIONS, OUT: 2, counting.DLQ: 1, CHANGELOG: PARTITIONS})
    engine = Engine(counting.job(), log)
    FakeConsumer(log, engine, 1)
    first = asyncio.create_task(engine.take_up(range(PARTITIONS)))
    await asyncio.sleep(0.015)
    await engine.revoke()
    engine.forget()
    second = asyncio.create_task(engine.take_up([0]))
    with pytest.raises(Superseded):
        await first
    await second
    assert sorted(engine.partitions) == [0]
    assert at_work() == ["counting-0"]
    await engine.stop()
    assert at_work() == []


async def test_a_failure_that_is_no_exception_is_noticed() -> None:
    """A panic of a library in Rust dead-letters its record; a failure of the engine itself reaches the worker."""

    class Panic(BaseException):
        pass

    def step(_table: Any, _record: Any) -> list[Any]:
        raise Panic("rust")

    log = counting.memory_log()
    counting.fill(log, 3, seed=1)
    running = Running(log, counting.job(step=step), await counting.restored(log, counting.job()))
    running.partition.start()
    running.feed()
    await running.finish()
    assert len(log.records(counting.DLQ, 0)) == 3
    running = Running(log, counting.job(dead_letter=step), await counting.restored(log, counting.job()))
    log.append_now(SOURCE, 0, [Entry(b"k", b"poison", [])])
    running.partition.start()
    running.feed()
    await until(lambda: bool(running.errors))
    await running.partition.close()
