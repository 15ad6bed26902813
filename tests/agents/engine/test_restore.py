"""Restores and claims beyond the ordinary: large repairs, races, a changelog that is gone."""

from typing import Any

import pytest

from agents.engine import changelog
from agents.engine.errors import Refused
from agents.engine.memory import MemoryLog
from agents.engine.records import Entry
from agents.engine.restore import Owned
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, DLQ, OUT, SOURCE
from tests.agents.engine.test_partition import run_to_end

TOPICS = {SOURCE: 1, OUT: 2, DLQ: 1, CHANGELOG: 1}


async def test_a_rebuild_of_large_states_is_cut_by_bytes() -> None:
    """Six hundred states of three kilobytes are written again in batches that the log takes."""
    log = MemoryLog(TOPICS, max_batch_bytes=1_100_000)

    def step(table: Any, record: Any) -> list[Any]:
        table.set(record.key, {"padding": "x" * 3_000})
        return []

    for number in range(600):
        log.append_now(SOURCE, 0, [Entry(b"k%d" % number, b"1", [])])
    job = counting.job(step=step)
    rebuilt = await counting.restored(log, job, 600, rebuild=True)
    again = await counting.restored(log, job, 600)
    assert len(again.table) == len(rebuilt.table) == 600


async def test_a_rebuild_whose_claim_is_disturbed_is_written_whole() -> None:
    """An append between scan and claim costs another attempt, and that one writes every rebuilt state too."""

    class Raced(MemoryLog):
        late: list[Any] | None = None

        async def append(self, topic: str, partition: int, entries: Any) -> int:
            if self.late is not None and topic == CHANGELOG:
                late, self.late = self.late, None
                self.append_now(CHANGELOG, 0, late)
            return await super().append(topic, partition, entries)

    log = Raced(TOPICS)
    for number in range(900):
        log.append_now(SOURCE, 0, [Entry(b"k%d" % number, b"1", [])])
    await run_to_end(log)
    wrong = [(b"k800", b'{"count": 99, "sum": 99}')]
    log.append_now(CHANGELOG, 0, changelog.batch(wrong, 899, 1, b"w" * 16))
    log.late = changelog.batch([], 899, 1, b"o" * 16)
    job = counting.job(max_batch_bytes=20_000)
    await counting.restored(log, job, 900, rebuild=True)
    again = await counting.restored(log, job, 900)
    assert again.table.at_rest(b"k800") == b'{"count": 1, "sum": 1}'


async def test_a_kept_state_does_not_outlive_its_changelog() -> None:
    """A changelog that was made anew is read from its start: the state in memory is no reason to believe it."""
    log = counting.memory_log()
    counting.fill(log, 50, seed=6)
    first = await run_to_end(log)
    kept = Owned(first.partition.table, first.partition.durable, first.partition.changelog_next)
    log._records[CHANGELOG, 0] = []
    log._ends[CHANGELOG, 0] = 0
    final = await counting.restored(log, counting.job(), None, kept=kept)
    assert final.position == -1
    assert len(final.table) == 0


async def test_a_changelog_that_lost_its_beginning_is_refused() -> None:
    """Records that were deleted, not compacted, may have held states: refused with the remedy, and a rebuild heals it.

    After the rebuild the changelog is whole by itself, as long as what the rebuild wrote is there.
    """
    log = counting.memory_log()
    counting.fill(log, 200, seed=9, keys=50)
    job = counting.job(max_batch_records=20)
    await run_to_end(log, job)
    end = (await log.bounds(CHANGELOG, 0)).end
    log.truncate(CHANGELOG, 0, end // 2)
    with pytest.raises(Refused, match=r"deleted.*--rebuild"):
        await counting.restored(log, job, 200)
    expected, _ = counting.sequential(log, job)
    await counting.restored(log, job, 200, rebuild=True)
    again = await counting.restored(log, job, 200)
    assert {key: again.table.at_rest(key) for key in again.table} == expected
    log.truncate(CHANGELOG, 0, end)
    assert len((await counting.restored(log, job, 200)).table) == len(expected)
    log.truncate(CHANGELOG, 0, end + 5)
    with pytest.raises(Refused, match="deleted"):
        await counting.restored(log, job, 200)


async def test_the_job_is_ready_before_anything_is_restored() -> None:
    """`Job.ready` is awaited before the first look at the logs: a rebuild needs what it brings."""
    from agents.engine.worker import Engine
    from tests.agents.engine.test_worker import FakeConsumer

    seen: list[str] = []

    class Watched(MemoryLog):
        async def bounds(self, topic: str, partition: int) -> Any:
            seen.append(topic)
            return await super().bounds(topic, partition)

    async def ready() -> None:
        seen.append("ready")

    log = Watched(TOPICS)
    engine = Engine(counting.job(ready=ready), log)
    FakeConsumer(log, engine, 1)
    await engine.take_up([0])
    assert seen[0] == "ready"
    assert seen.count("ready") == 1
    await engine.stop()
