"""A source that may grow, and records whose outputs have gone out already."""

from typing import Any

import pytest

from agents.engine.changelog import NOBODY, batch
from agents.engine.errors import Refused
from agents.engine.fold import Fold
from agents.engine.memory import MemoryLog
from agents.engine.restore import new_table
from agents.engine.worker import Engine
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, DLQ, OUT, SOURCE
from tests.agents.engine.test_partition import run_to_end
from tests.agents.engine.test_worker import FakeConsumer


def grown(log: MemoryLog, source: int, changelog: int) -> MemoryLog:
    """Return the log with more or fewer partitions."""
    found = MemoryLog({SOURCE: source, OUT: 2, DLQ: 1, CHANGELOG: changelog})
    for place, records in log._records.items():
        if place in found._records:
            found._records[place] = list(records)
            found._ends[place] = log._ends.get(place, 0)
    return found


async def folded(partitions: int = 2) -> MemoryLog:
    log = counting.memory_log(partitions)
    counting.fill(log, 60, seed=3)
    await run_to_end(log)
    return log


async def test_a_source_that_may_grow_goes_on_with_its_states() -> None:
    """With more partitions the states of before are restored as they were."""
    log = await folded()
    expected, _ = counting.sequential(log, counting.job())
    for source, changelog in ((4, 4), (2, 4)):
        again = await counting.restored(grown(log, source, changelog), counting.job(may_grow=True), 60)
        assert {key: again.table.at_rest(key) for key in again.table} == expected


@pytest.mark.parametrize(
    ("may_grow", "source", "changelog", "words"),
    [
        (False, 4, 4, "has 4 partitions, but the state was folded over 1"),
        (True, 4, 2, "add partitions to the changelog"),
        (False, 2, 4, "does not grow in place"),
    ],
)
async def test_what_may_not_grow_is_refused(may_grow: bool, source: int, changelog: int, words: str) -> None:
    """Without `may_grow` as before; with it the changelog must come first."""
    log = grown(await folded(1), source, changelog)
    with pytest.raises(Refused, match=words):
        await counting.restored(log, counting.job(may_grow=may_grow), 60)


async def test_a_source_never_shrinks() -> None:
    """A source with fewer partitions than its states were folded over was made anew."""
    log = counting.memory_log(2)
    counting.fill(log, 60, seed=3)
    job = counting.job(may_grow=True)
    from tests.agents.engine.test_partition import Running

    running = Running(log, job, await counting.restored(log, job), partitions=2)
    running.partition.start()
    running.feed()
    await running.finish()
    with pytest.raises(Refused, match="made anew with fewer"):
        await counting.restored(grown(log, 1, 1), job, 60)


async def test_a_claim_does_not_make_another_number_the_right_one() -> None:
    """A refused owner has claimed the partition before, over a late append: the next one is refused like it."""
    log = await folded(1)
    log.append_now(CHANGELOG, 0, batch([(b"k", b"1")], 9, 1, NOBODY))
    again = grown(log, 4, 4)
    for _ in range(3):
        with pytest.raises(Refused, match="has 4 partitions, but the state was folded over 1"):
            await counting.restored(again, counting.job(), 60)


@pytest.mark.parametrize(("may_grow", "found", "good"), [(True, 4, True), (True, 1, False), (False, 4, False)])
async def test_expected_partitions(may_grow: bool, found: int, good: bool) -> None:
    """More than expected is right where keys are placed by something that knows its own number; fewer never is."""
    log = counting.memory_log(found)
    engine = Engine(counting.job(may_grow=may_grow, expected_partitions={SOURCE: 2}), log)
    FakeConsumer(log, engine, 1)
    try:
        if good:
            await engine.take_up([0])
        else:
            with pytest.raises(Refused, match=f"has {found} partitions, expected 2"):
                await engine.take_up([0])
    finally:
        await engine.stop()


def test_muted_records_are_folded_and_send_nothing() -> None:
    """States are those of a fold that sends; outputs and dead letters of muted records stay away, poison or not."""
    log = counting.memory_log()
    counting.fill(log, 300, seed=4)
    records = log.records(SOURCE, 0)

    def fold(**changes: Any) -> tuple[Any, dict[bytes, bytes | None]]:
        job = counting.job(**changes)
        table = new_table(job)
        outcome = Fold(job, table, counting.counts())(records)
        return outcome, {key: table.at_rest(key) for key in table}

    loud, states = fold()
    half, same = fold(muted=lambda record: record.offset % 2 == 0)
    assert same == states
    assert loud.dead_letters > half.dead_letters > 0
    kept = {
        place: [entry for entry in entries if int(dict(entry[2])[counting.POSITION].split(b"/")[1]) % 2]
        for place, entries in loud.sends.items()
    }
    assert half.sends == kept
    silent, same = fold(muted=lambda _: True)
    assert same == states
    assert (silent.sends, silent.outputs, silent.dead_letters) == ({}, 0, 0)


def test_a_table_tells_what_is_present() -> None:
    """Keys at rest, and those that were set or deleted since, each once."""
    table = new_table(counting.job())
    table.load([(b"a", b"{}"), (b"b", b"{}")])
    table.delete(b"a")
    table.set(b"c", {})
    table.set(b"d", {})
    table.delete(b"d")
    assert sorted(table.present()) == [b"b", b"c"]
    table.set(b"a", {})
    assert sorted(table.present()) == [b"a", b"b", b"c"]
    table.commit(table.encode())
    assert sorted(table.present()) == [b"a", b"b", b"c"]
    table.delete(b"b")
    table.rollback()
    assert sorted(table.present()) == [b"a", b"b", b"c"]
