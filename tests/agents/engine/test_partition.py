"""The engine on a log in memory: what a crash, a zombie, compaction and poison may do, and may not."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agents.engine import changelog
from agents.engine.errors import BatchTooLarge, ForeignAppend, OverBudget, Refused
from agents.engine.memory import MemoryLog
from agents.engine.partition import Partition
from agents.engine.records import Entry, Output
from agents.engine.restore import Owned
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, OUT, SOURCE


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition; fail when it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


class Running:
    """A partition at work on a memory log, fed with what the source holds."""

    def __init__(self, log: MemoryLog, job: Any, owned: Owned, partitions: int = 1, **counts: int) -> None:
        self.log = log
        self.errors: list[BaseException] = []
        self.partition = Partition(
            job,
            log,
            0,
            owned,
            counts={**counting.counts(partitions), **counts},
            on_trouble=lambda _, error: self.errors.append(error),
        )

    def feed(self, rng: random.Random | None = None) -> None:
        records = [r for r in self.log.records(SOURCE, 0) if r.offset > self.partition.folded]
        while records:
            n = rng.randint(1, 20) if rng else len(records)
            self.partition.submit(records[:n])
            records = records[n:]

    async def finish(self) -> None:
        end = self.log.records(SOURCE, 0)[-1].offset
        await until(lambda: self.partition.durable == end or bool(self.errors))
        assert await self.partition.drain(), self.errors


async def run_to_end(log: MemoryLog, job: Any = None, **options: Any) -> Running:
    job = job or counting.job()
    running = Running(log, job, await counting.restored(log, job, **options))
    running.partition.start()
    running.feed()
    await running.finish()
    return running


def states(running: Running) -> dict[bytes, bytes]:
    return {key: running.partition.table.at_rest(key) or b"" for key in running.partition.table}


async def test_equals_the_sequential_fold() -> None:
    """States and outputs equal those of a fold of one record after another, poison and deletions included."""
    log = counting.memory_log()
    counting.fill(log, 500, seed=1)
    running = await run_to_end(log)
    expected_states, expected_outputs = counting.sequential(log, counting.job())
    assert states(running) == expected_states
    assert counting.emitted(log) == expected_outputs
    assert running.partition.counters.dead_letters == sum(key[0] == "source.dlq" for key in expected_outputs.values())


class CrashingLog(MemoryLog):
    """Raises at the n-th append, before or after it takes effect."""

    fuse = 0
    after = False

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        await asyncio.sleep(0)
        self.fuse -= 1
        if self.fuse <= 0 and not self.after:
            raise ConnectionError("process dies before the append")
        base = self.append_now(topic, partition, entries)
        if self.fuse <= 0:
            raise ConnectionError("process dies after the append")
        return base


@pytest.mark.parametrize("seed", range(40))
async def test_any_crash_is_invisible(seed: int) -> None:
    """Die at random appends, before or after they land, restart from the changelog: the result is the same."""
    rng = random.Random(seed)
    log = CrashingLog({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    counting.fill(log, 300, seed=seed)
    job = counting.job(max_batch_records=rng.choice([1, 7, 50]))
    committed: int | None = None
    for _ in range(200):
        log.fuse, log.after = rng.randint(2, 30), rng.random() < 0.5
        try:
            owned = await counting.restored(log, job, committed)
        except ConnectionError:
            continue
        running = Running(log, job, owned)
        running.partition.start()
        running.feed(rng)
        end = log.records(SOURCE, 0)[-1].offset
        await until(lambda running=running, end=end: running.partition.durable == end or bool(running.errors))
        finished = running.partition.durable == end
        if running.partition.durable >= 0:
            committed = running.partition.durable + 1
        await running.partition.close()
        if finished:
            break
    else:
        pytest.fail("never finished")
    log.fuse = 10**9
    final = await counting.restored(log, job, committed)
    expected_states, expected_outputs = counting.sequential(log, job)
    assert {key: final.table.at_rest(key) for key in final.table} == expected_states
    assert counting.emitted(log) == expected_outputs


async def test_foreign_append_stops_the_owner() -> None:
    """A batch that does not land right behind the last one of its owner raises ForeignAppend."""
    log = counting.memory_log()
    counting.fill(log, 10, seed=3)
    job = counting.job()
    running = Running(log, job, await counting.restored(log, job))
    log.append_now(CHANGELOG, 0, changelog.batch([], 3, 1, b"z" * 16))
    running.partition.start()
    running.feed()
    await until(lambda: bool(running.errors))
    assert isinstance(running.errors[0], ForeignAppend)
    await running.partition.close()


def zombie_batch(log: MemoryLog, upto: int) -> list[Any]:
    """Return what an owner that had folded up to `upto` would append for all its keys."""
    prefix = MemoryLog({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    for record in log.records(SOURCE, 0)[: upto + 1]:
        prefix.append_now(SOURCE, 0, [Entry(record.key, record.value, list(record.headers))])
    folded, _ = counting.sequential(prefix, counting.job())
    return changelog.batch(folded.items(), upto, 1, b"z" * 16)


@pytest.mark.parametrize("upto", [20, 60, 99])
async def test_late_append_of_a_zombie_changes_nothing(upto: int) -> None:
    """An older fence appended later loses against a newer one, and a restore writes the newer one again."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=4)
    await run_to_end(log)
    log.append_now(CHANGELOG, 0, zombie_batch(log, upto))
    final = await counting.restored(log, counting.job(), 100)
    expected, _ = counting.sequential(log, counting.job())
    assert {key: final.table.at_rest(key) for key in final.table} == expected
    log.clock_ms += 10**9
    log.compact(CHANGELOG, 0, lag_ms=0)
    again = await counting.restored(log, counting.job(), 100)
    assert {key: again.table.at_rest(key) for key in again.table} == expected


async def test_zombie_then_compaction_rebuilds_from_the_source() -> None:
    """When compaction has kept a zombie's older version, the state is folded again from the source."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=5)
    await run_to_end(log)
    log.append_now(CHANGELOG, 0, zombie_batch(log, 40))
    log.clock_ms += 600_000
    log.compact(CHANGELOG, 0, lag_ms=300_000)
    final = await counting.restored(log, counting.job(), 100)
    expected, outputs = counting.sequential(log, counting.job())
    assert {key: final.table.at_rest(key) for key in final.table} == expected
    assert counting.emitted(log) == outputs


async def test_kept_state_restores_only_what_is_new() -> None:
    """A state that was drained cleanly takes in another owner's progress, and a zombie's late append is undone."""
    log = counting.memory_log()
    counting.fill(log, 50, seed=6)
    first = await run_to_end(log)
    kept = Owned(first.partition.table, first.partition.durable, first.partition.changelog_next)
    counting.fill(log, 50, seed=7)
    await run_to_end(log)
    log.append_now(CHANGELOG, 0, zombie_batch(log, 30))
    final = await counting.restored(log, counting.job(), 100, kept=kept)
    expected, _ = counting.sequential(log, counting.job())
    assert {key: final.table.at_rest(key) for key in final.table} == expected
    assert final.position == 99


async def test_refuses_a_lost_changelog() -> None:
    """An offset committed beyond the changelog means lost state: refused, with the remedy; rebuild heals it."""
    log = counting.memory_log()
    counting.fill(log, 30, seed=8)
    with pytest.raises(Refused, match="rebuild"):
        await counting.restored(log, counting.job(), committed=30)
    final = await counting.restored(log, counting.job(), committed=30, rebuild=True)
    expected, _ = counting.sequential(log, counting.job())
    assert {key: final.table.at_rest(key) for key in final.table} == expected
    assert final.resume == 30
    assert counting.emitted(log) == {}


async def test_refuses_a_truncated_or_recreated_source() -> None:
    """A position outside the source log is refused rather than reset."""
    log = counting.memory_log()
    counting.fill(log, 30, seed=9)
    await run_to_end(log)
    log.truncate(SOURCE, 0, 40)
    with pytest.raises(Refused, match="truncated"):
        await counting.restored(log, counting.job(), committed=30)


async def test_refuses_another_number_of_partitions() -> None:
    """State folded over one number of partitions is not continued over another."""
    log = counting.memory_log()
    counting.fill(log, 5, seed=10)
    await run_to_end(log)
    grown = counting.memory_log(partitions=2)
    for topic in (SOURCE, CHANGELOG):
        for record in log.records(topic, 0):
            grown.append_now(topic, 0, [Entry(record.key, record.value, list(record.headers))])
    with pytest.raises(Refused, match="migrate"):
        await counting.restored(grown, counting.job(), committed=5)


async def test_cuts_a_batch_that_is_too_large() -> None:
    """Batches whose states would not fit are cut; a single record that cannot fit is named."""
    log = counting.memory_log()
    counting.fill(log, 200, seed=11, keys=100)
    running = await run_to_end(log, counting.job(max_batch_bytes=300))
    assert running.partition.counters.batches > 30
    assert states(running) == counting.sequential(log, counting.job())[0]
    tiny = Running(
        log, counting.job(max_batch_bytes=10), await counting.restored(counting.memory_log(), counting.job())
    )
    tiny.partition.start()
    tiny.feed()
    await until(lambda: bool(tiny.errors))
    assert isinstance(tiny.errors[0], BatchTooLarge)
    await tiny.partition.close()


async def test_state_or_output_over_the_limit_is_dead_lettered() -> None:
    """A record that would make a state too large is dead-lettered and leaves the state as it was."""
    log = counting.memory_log()
    for value in (b"1", b"9" * 50, b"2"):
        log.append_now(SOURCE, 0, [Entry(b"k", value, [])])
    running = await run_to_end(log, counting.job(max_state_bytes=40))
    assert states(running) == {b"k": b'{"count": 2, "sum": 3}'}
    assert running.partition.counters.dead_letters == 1


async def test_waits_for_what_a_step_lacks() -> None:
    """A step that asks for a later retry blocks its partition, loses nothing, and goes on when it can."""

    class Missing(Exception):
        retry_later = True

    have: list[bool] = []

    def step(table: Any, record: Any) -> list[Output]:
        if record.offset == 5 and not have:
            raise Missing("document x")
        return counting.count(table, record)

    log = counting.memory_log()
    counting.fill(log, 20, seed=12)
    job = counting.job(step=step)
    running = Running(log, job, await counting.restored(log, job))
    running.partition.start()
    running.feed()
    await until(lambda: running.partition.blocked is not None and running.partition.durable == 4)
    have.append(True)
    await running.finish()
    assert states(running) == counting.sequential(log, job)[0]
    assert running.partition.blocked is None


async def test_waits_at_a_state_that_cannot_be_read() -> None:
    """A state of a newer release blocks its partition with the codec's words; no record is dead-lettered for it."""

    class Newer(counting.JsonCodec):
        readable = False

        def decode(self, encoded: bytes, /) -> Any:
            if not self.readable:
                raise ValueError("version 2, this release reads up to 1; start the release that wrote it")
            return super().decode(encoded)

    log = counting.memory_log()
    log.append_now(SOURCE, 0, [Entry(b"k", b"1", [])])
    await run_to_end(log)
    log.append_now(SOURCE, 0, [Entry(b"k", b"2", []), Entry(b"k", b"3", [])])
    codec = Newer()
    job = counting.job(codec=codec)
    running = Running(log, job, await counting.restored(log, job, 1))
    running.partition.start()
    running.feed()
    await until(lambda: running.partition.blocked is not None)
    assert "start the release that wrote it" in str(running.partition.blocked)
    codec.readable = True
    await running.finish()
    assert states(running) == {b"k": b'{"count": 3, "sum": 6}'}
    assert log.records(counting.DLQ, 0) == []


async def test_outputs_keep_the_order_of_their_records() -> None:
    """Outputs to one destination never overtake one another, with two batches in flight and one cut in runs."""

    class Lagging(MemoryLog):
        async def append(self, topic: str, partition: int, entries: Any) -> int:
            if topic != OUT:
                return self.append_now(topic, partition, entries)
            base = self.append_now(topic, partition, entries)
            await asyncio.sleep(0.005)
            return base

    def step(table: Any, record: Any) -> list[Output]:
        table.set(record.key, {"n": record.offset})
        places = [0, 1] if record.offset < 20 else [0]
        return [Output(OUT, record.key, b"x" * 100_000, [], place) for place in places]

    log = Lagging({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    for number in range(40):
        log.append_now(SOURCE, 0, [Entry(b"k", b"%d" % number, [])])
    await run_to_end(log, counting.job(step=step, max_batch_records=20))
    for place in (0, 1):
        headers = [dict(record.headers) for record in log.records(OUT, place)]
        order = [int(found["position"].split(b"/")[1]) for found in headers]
        assert order == sorted(order)


async def test_overlapping_runs_in_one_batch_are_folded_once() -> None:
    """Runs that overlap each other, not only what was folded, count once."""
    log = counting.memory_log()
    counting.fill(log, 30, seed=8)
    expected, _ = counting.sequential(log, counting.job())
    running = Running(log, counting.job(max_batch_records=100), await counting.restored(log, counting.job()))
    records = log.records(SOURCE, 0)
    running.partition.submit(records[:20])
    running.partition.submit(records[10:])
    running.partition.start()
    await running.finish()
    assert states(running) == expected


async def test_headers_count_and_may_be_null() -> None:
    """An output whose headers are too large dead-letters its record; a null header is sent as it is."""

    def step(table: Any, record: Any) -> list[Output]:
        table.set(record.key, {"n": record.offset})
        return [Output(OUT, record.key, b"", [("large", b"x" * int(record.value)), ("none", None)])]  # type: ignore[list-item]

    log = counting.memory_log()
    log.append_now(SOURCE, 0, [Entry(b"k", b"1000", []), Entry(b"k", b"901000", []), Entry(b"k", b"10", [])])
    await run_to_end(log, counting.job(step=step))
    assert len(log.records(counting.DLQ, 0)) == 1
    sent = [dict(record.headers) for number in (0, 1) for record in log.records(OUT, number)]
    assert [found["none"] for found in sent] == [None, None]


async def test_idle_owner_appends_watermarks() -> None:
    """Without records an owner still marks its changelog, so that a late zombie is noticed."""
    log = counting.memory_log()
    job = counting.job(watermark_seconds=0.01)
    running = Running(log, job, await counting.restored(log, job))
    running.partition.start()
    await until(lambda: len(log.records(CHANGELOG, 0)) >= 4)
    assert await running.partition.drain()


class SlowLog(MemoryLog):
    """Acknowledges late and out of order between topics."""

    def __init__(self, *args: Any, rng: random.Random, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rng = rng
        self.order: list[str] = []

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        await asyncio.sleep(self.rng.random() * 0.003)
        base = self.append_now(topic, partition, entries)
        self.order.append(topic)
        await asyncio.sleep(self.rng.random() * 0.003)
        return base


@pytest.mark.parametrize("seed", range(5))
async def test_outputs_stand_before_the_fence_that_covers_them(seed: int) -> None:
    """At no moment does the changelog cover a record whose outputs are not yet in the log."""
    log = SlowLog({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1}, rng=random.Random(seed))
    counting.fill(log, 200, seed=seed)
    job = counting.job(max_batch_records=10)
    expected = counting.sequential(log, job)[1]

    original: Callable[..., int] = log.append_now

    def checked(topic: str, partition: int, entries: Any) -> int:
        if topic == CHANGELOG:
            position = changelog.Watermark.decode(entries[-1].value).position
            due = {key for key in expected if int(key.split(b"/")[1]) <= position}
            assert due <= set(counting.emitted(log))
        return original(topic, partition, entries)

    log.append_now = checked  # type: ignore[method-assign]
    running = Running(log, job, await counting.restored(log, job))
    running.partition.start()
    running.feed()
    await running.finish()
    assert not running.errors


async def test_a_drain_waits_for_what_is_in_flight() -> None:
    """What was folded when a revocation comes becomes durable first: the next owner need not fold it again."""
    log = SlowLog({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1}, rng=random.Random(9))
    counting.fill(log, 100, seed=9)
    running = Running(log, counting.job(max_batch_records=10), await counting.restored(log, counting.job()))
    running.partition.start()
    running.feed()
    await until(lambda: running.partition.folded > running.partition.durable)
    assert await running.partition.drain()
    assert running.partition.durable == running.partition.folded >= 0


async def test_a_foreign_append_that_a_watermark_finds_is_no_clean_end() -> None:
    """Nothing is folded meanwhile, so that everything is durable: the state is not to be kept all the same."""
    log = counting.memory_log()
    counting.fill(log, 20, seed=9)
    running = await run_idle(log)
    log.append_now(CHANGELOG, 0, changelog.batch([(b"key-1", b"1")], 19, 1, b"z" * 16))
    await until(lambda: bool(running.errors))
    assert isinstance(running.errors[0], ForeignAppend)
    assert running.partition.durable == running.partition.folded
    assert not await running.partition.drain()


async def run_idle(log: MemoryLog) -> Running:
    """Return a partition that has folded everything, and goes on."""
    running = Running(log, counting.job(), await counting.restored(log, counting.job()))
    running.partition.start()
    running.feed()
    await until(lambda: running.partition.durable == log.records(SOURCE, 0)[-1].offset)
    return running


async def test_what_waits_for_memory_is_folded_when_there_is_some() -> None:
    """Over the budget nothing is folded; what had been taken up meanwhile is neither lost nor doubled."""
    log = counting.memory_log()
    counting.fill(log, 200, seed=10)
    job = counting.job(max_batch_records=10)
    expected, outputs = counting.sequential(log, job)
    running = Running(log, job, await counting.restored(log, job))
    over = OverBudget("full")
    asked = 0

    def over_budget() -> OverBudget | None:
        nonlocal asked
        asked += 1
        return over if asked % 4 else None

    running.partition._over_budget = over_budget
    running.partition.start()
    running.feed()
    await running.finish()
    assert asked > 20
    assert states(running) == expected
    assert counting.emitted(log) == outputs


async def test_what_cannot_be_prepared_yet_waits() -> None:
    """`Job.prepare` sees every run before it is folded; while it fails nothing is folded, lost or doubled."""
    log = counting.memory_log()
    counting.fill(log, 200, seed=10)
    prepared: list[int] = []
    calls = 0

    async def prepare(records: Sequence[Any]) -> None:
        nonlocal calls
        calls += 1
        if calls % 3:
            raise ConnectionError("a service is away")
        prepared.extend(record.offset for record in records)

    def forward(_table: Any, record: Any) -> list[Output]:
        return [Output(OUT, record.key, record.value, [])]

    job = counting.job(step=forward, changelog=None, codec=None, max_batch_records=10, prepare=prepare)
    _, outputs = counting.sequential(log, job)
    running = Running(log, job, await counting.restored(log, job))
    running.partition.start()
    running.feed()
    await running.finish()
    assert prepared == list(range(200))
    assert counting.emitted(log) == outputs


async def test_a_record_that_must_wait_often_is_folded_in_the_end() -> None:
    """However often a step asks for a later time, no turn is used up by it, and nothing is written meanwhile."""
    calls, have = 0, False

    class Later(Exception):
        retry_later = True

    def step(table: Any, record: Any) -> list[Output]:
        nonlocal calls
        calls += 1
        if not have:
            raise Later
        return list(counting.count(table, record))

    log = counting.memory_log()
    counting.fill(log, 20, seed=11)
    running = Running(log, counting.job(step=step), await counting.restored(log, counting.job()))
    before = len(log.records(CHANGELOG, 0))
    running.partition.start()
    running.feed()
    await until(lambda: calls > 20)
    assert len(log.records(CHANGELOG, 0)) == before
    have = True
    await running.finish()
    assert states(running) == counting.sequential(log, counting.job())[0]


async def test_no_more_batches_are_in_flight_than_allowed() -> None:
    """Where nothing is acknowledged folding stands still: what is unacknowledged would have to be folded again."""

    class Silent(MemoryLog):
        async def append(self, topic: str, partition: int, entries: Any) -> int:
            return await asyncio.get_running_loop().create_future()

    log = Silent({SOURCE: 1, OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    counting.fill(log, 100, seed=12)
    job = counting.job(max_batch_records=5, in_flight=2, drain_seconds=0.01)
    running = Running(log, job, await counting.restored(counting.memory_log(), job))
    running.partition.start()
    running.feed()
    await until(lambda: running.partition.folded >= 9)
    await asyncio.sleep(0.1)
    assert running.partition.folded == 9
    assert not await running.partition.drain()
    await running.partition.close()
