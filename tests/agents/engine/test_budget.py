"""The byte budget of a process: over it partitions wait, nothing is dropped, and another process takes them over."""

import asyncio
import random

from agents.engine.errors import OverBudget
from agents.engine.memory import MemoryLog
from agents.engine.table import StateTable
from agents.engine.worker import Engine
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, DLQ, OUT, SOURCE, JsonCodec
from tests.agents.engine.test_partition import until
from tests.agents.engine.test_worker import PARTITIONS, FakeConsumer, judge

BUDGET = 20_000


def full_log() -> MemoryLog:
    """Return a log whose states take more than the budget, and less than it in each partition."""
    log = MemoryLog({SOURCE: PARTITIONS, OUT: 2, DLQ: 1, CHANGELOG: PARTITIONS})
    for number in range(PARTITIONS):
        counting.fill(log, 400, seed=number, partition=number, keys=60)
    return log


async def at_work(log: MemoryLog, numbers: list[int], budget: int | None = BUDGET) -> tuple[Engine, FakeConsumer]:
    """Return an engine that has begun with some partitions."""
    engine = Engine(counting.job(max_batch_records=20, memory_bytes=budget), log)
    consumer = FakeConsumer(log, engine, 1)
    consumer.positions = await engine.assign(numbers)
    engine.admit(0)
    return engine, consumer


async def until_full(engine: Engine, consumer: FakeConsumer) -> None:
    """Feed an engine until every partition waits for memory."""

    def full() -> bool:
        consumer.fetch()
        return all(isinstance(one.blocked, OverBudget) for one in engine.partitions.values())

    await until(full)


def test_what_a_table_takes_is_what_it_holds() -> None:
    """Whatever is set, replaced and removed in whatever order, the count is that of a table filled at once."""
    rng = random.Random(4)
    table = StateTable(JsonCodec().encode, JsonCodec().decode)
    held: dict[bytes, bytes] = {}
    for _ in range(500):
        key, value = b"%d" % rng.randrange(40), b"x" * rng.randrange(300) if rng.random() < 0.8 else None
        table.load([(key, value)])
        if value is None:
            held.pop(key, None)
        else:
            held[key] = value
        again = StateTable(JsonCodec().encode, JsonCodec().decode)
        again.load(held.items())
        assert table.bytes == again.bytes
    table.load([(key, None) for key in held])
    assert table.bytes == 0


async def test_over_budget_partitions_wait_and_say_why() -> None:
    """Nothing more is folded, nothing is dropped, and the reason names both figures and what to do."""
    log = full_log()
    engine, consumer = await at_work(log, [0, 1, 2])
    await until_full(engine, consumer)
    before = engine.durable()
    assert BUDGET < engine.state_bytes < BUDGET * 1.5
    assert any(durable < 400 for durable in before.values())
    for _ in range(20):
        consumer.fetch()
        await asyncio.sleep(0.005)
    assert engine.durable() == before
    assert not consumer.fatal
    (reason,) = {str(one.blocked) for one in engine.partitions.values()}
    assert f"may take {BUDGET:,}: start another worker of counting" in reason
    await engine.stop()


async def test_a_process_that_restarts_over_its_budget_waits_too() -> None:
    """The states are restored, since others may take them over; then the partitions wait again, without a crash."""
    log = full_log()
    first, consumer = await at_work(log, [0, 1, 2])
    await until_full(first, consumer)
    await first.stop()
    second, consumer = await at_work(log, [0, 1, 2])
    await until_full(second, consumer)
    assert not consumer.fatal
    assert second.takes_runs
    await second.stop()


async def test_another_process_takes_partitions_over_and_all_go_on() -> None:
    """With partitions given up, states that are only kept go first; all processes fold to the end, and it is right."""
    log = full_log()
    first, consumer = await at_work(log, [0, 1, 2])
    await until_full(first, consumer)
    await first.revoke()
    commits = first.durable()
    first.forget()
    assert first.state_bytes > BUDGET  # kept for a while, as after every clean revocation
    consumer.positions = await first.assign([0])
    first.admit(consumer.serial)
    others = [await at_work(log, [number]) for number in (1, 2)]
    for _, other in others:
        other.commits = commits
    members = [(first, consumer), *others]

    def done() -> bool:
        for _, member in members:
            member.fetch()
        return all(found == 400 for engine, _ in members for found in engine.durable().values())

    await until(done)
    assert first.state_bytes <= BUDGET
    for engine, _ in others:
        await engine.stop()
    await judge(log, first)


async def test_more_memory_lets_it_go_on() -> None:
    """A restart with a larger budget folds to the end."""
    log = full_log()
    first, consumer = await at_work(log, [0, 1, 2])
    await until_full(first, consumer)
    await first.stop()
    second, consumer = await at_work(log, [0, 1, 2], 10 * BUDGET)
    await consumer.run_until_done()
    await judge(log, second)
