"""A job without state knows the log again that it has read, by what it says of it now and then."""

import asyncio
from typing import Any

import pytest

from agents.engine import changelog
from agents.engine.errors import EngineError, Refused
from agents.engine.job import Job
from agents.engine.memory import MemoryLog
from agents.engine.records import Entry, Output
from agents.engine.restore import restore
from tests.agents.engine import counting
from tests.agents.engine.counting import OUT, SOURCE
from tests.agents.engine.test_partition import Running, run_to_end, until

MARKS = counting.CHANGELOG


def forwarding(**changes: Any) -> Job:
    """Return a job that passes on what comes."""

    def forward(_table: Any, record: Any) -> list[Output]:
        return [Output(OUT, record.key, record.value, [])]

    settings = {"step": forward, "codec": None, "changelog": None, "marks": MARKS, "new_source": "begin anew"}
    return counting.job(**{**settings, **changes})


def told(log: MemoryLog) -> list[changelog.Watermark]:
    """Return the marks in their order."""
    return [changelog.Watermark.decode(record.value or b"") for record in log.records(MARKS, 0)]


async def test_a_mark_is_written_at_once_and_then_now_and_then() -> None:
    """The first batch of an owner is marked, others only after a while; each mark says what stands where it is."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    await run_to_end(log, forwarding(max_batch_records=10, watermark_seconds=60.0))
    (first,) = told(log)
    assert (first.position, first.partitions) == (9, 1)
    assert first.last == changelog.fingerprint(log.records(SOURCE, 0)[9])


async def test_what_was_read_last_is_marked_once_nothing_comes() -> None:
    """An idle owner says where it stands, once."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    job = forwarding(max_batch_records=10, watermark_seconds=0.05)
    running = Running(log, job, await counting.restored(log, job))
    running.partition.start()
    running.feed()
    await until(lambda: bool(told(log)) and told(log)[-1].position == 99)
    before = told(log)
    await asyncio.sleep(0.3)
    assert told(log) == before
    await running.finish()


@pytest.mark.parametrize("committed", [None, 100])
async def test_a_source_that_was_made_anew_is_refused(committed: int | None) -> None:
    """It has grown beyond the mark, or ends before it; Kafka may have deleted what was committed, with the topic."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    await run_to_end(log, forwarding(max_batch_records=100))
    log.lose(SOURCE, 0, 0)
    counting.fill(log, 50, seed=2)
    job = forwarding(confirm_seconds=0.0)
    with pytest.raises(Refused, match=r"read up to 99, but the log holds 0 to 50.*or begin anew"):
        await counting.restored(log, job, committed)
    counting.fill(log, 150, seed=3)
    with pytest.raises(Refused, match=r"record at 99 is not the one that was read there.*or begin anew"):
        await counting.restored(log, job, committed)


async def test_a_source_that_is_the_same_goes_on_where_the_group_is() -> None:
    """Marks only tell whether it is; also where retention has taken away what they speak of, and nothing else."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    await run_to_end(log, forwarding(max_batch_records=60, watermark_seconds=60.0))
    assert (await counting.restored(log, forwarding(), 80)).resume == 80
    assert (await counting.restored(log, forwarding(), None)).resume == 0
    log.truncate(SOURCE, 0, 60)
    assert (await counting.restored(log, forwarding(), None)).resume == 60


async def test_marks_that_come_late_tell_the_truth_too() -> None:
    """One of an owner that was frozen speaks of an older place, and the newest is believed."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    records = log.records(SOURCE, 0)
    for position in (80, 30):
        log.append_now(MARKS, 0, changelog.mark(position, 1, changelog.fingerprint(records[position])))
    assert (await counting.restored(log, forwarding(), 100)).resume == 100
    log.lose(SOURCE, 0, 60)
    for record in [*records[60:80], *records[:20]]:
        log.append_now(SOURCE, 0, [Entry(record.key, record.value, [])])
    with pytest.raises(Refused, match="record at 80 is not the one"):
        await counting.restored(log, forwarding(), 100)


async def test_a_partition_without_marks_is_read_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has given the source more partitions than the marks is told so."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    counts = {**counting.counts(1), MARKS: 0}
    owned = await restore(forwarding(), log, 0, committed=None, counts=counts)
    assert f"{SOURCE}/0 is read without marks" in caplog.text
    running = Running(log, forwarding(), owned, **{MARKS: 0})
    running.partition.start()
    running.feed()
    await running.finish()
    assert not told(log)


async def test_an_owner_for_whom_nothing_comes_marks_where_it_is() -> None:
    """Marks of a source that was read before there were any, or whose marks were lost."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    job = forwarding(watermark_seconds=0.05)
    running = Running(log, job, await counting.restored(log, job, 100))
    running.partition.start()
    await until(lambda: bool(told(log)))
    assert told(log)[0].last == changelog.fingerprint(log.records(SOURCE, 0)[99])
    await asyncio.sleep(0.3)
    assert len(told(log)) == 1
    assert running.partition.counters.batches == 1
    assert await running.partition.drain()


async def test_what_was_lost_to_retention_is_refused() -> None:
    """Behind a mark as behind what is committed: what is gone was not read; resetting the group goes on on purpose."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=1)
    await run_to_end(log, forwarding(max_batch_records=60, watermark_seconds=60.0))
    log.truncate(SOURCE, 0, 80)
    for committed, at in ((None, 60), (70, 70), (0, 0)):
        with pytest.raises(Refused, match=rf"{at} was to be read next, but the log holds 80 to 100.*lost to retention"):
            await counting.restored(log, forwarding(), committed)
    assert (await counting.restored(log, forwarding(), 80)).resume == 80


def test_marks_are_for_jobs_without_state() -> None:
    """A changelog says more already."""
    with pytest.raises(EngineError, match="stands in the changelog"):
        counting.job(marks="marks")
