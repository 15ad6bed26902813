"""Restores and claims beyond the ordinary: large repairs, races, a changelog that is gone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agents.engine import changelog
from agents.engine.errors import Refused
from agents.engine.memory import MemoryLog
from agents.engine.records import Entry
from agents.engine.restore import Owned
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, DLQ, OUT, SOURCE
from tests.agents.engine.test_partition import Running, run_to_end, until

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

    log = counting.Raced(TOPICS)
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
    log.lose(CHANGELOG, 0, 0)
    final = await counting.restored(log, counting.job(), None, kept=kept)
    assert final.position == -1
    assert len(final.table) == 0


@pytest.mark.parametrize("aligned", [True, False])
async def test_a_kept_state_is_not_continued_by_another_changelog(aligned: bool) -> None:
    """A changelog is lost and written anew, beyond where it ended: a state kept from before does not go on with it.

    The old end may lie within a batch of the new one, or by chance at the end of one.
    """
    log = counting.memory_log()
    counting.fill(log, 120, seed=6, keys=300)
    job = counting.job(max_batch_records=5)
    first = await run_to_end(log, job)
    kept = first.partition.given_up()
    log.lose(CHANGELOG, 0, 0)
    counting.fill(log, 200, seed=7, keys=300)
    job = counting.job(max_batch_records=60)  # so that the new one comes further by the same offset
    for _ in range(3):  # owners with greater numbers than the state's, so that they are none of before
        await counting.restored(log, job, None, rebuild=True)
    await run_to_end(log, job)
    ends = [one.offset + 1 for one in log.records(CHANGELOG, 0) if one.key == changelog.WATERMARK]
    end = next(end for end in ends if end > kept.changelog_next)
    kept.changelog_next = end if aligned else end - 1
    expected, _ = counting.sequential(log, job)
    final = await counting.restored(log, job, None, kept=kept)
    assert {key: final.table.at_rest(key) for key in final.table} == expected


async def test_a_kept_state_is_not_continued_behind_an_owner_whose_claim_it_has_not_seen() -> None:
    """The end is lost, the next owner claims and folds before where it was, and a third one claims behind it."""
    log = counting.memory_log()
    for number in range(400):
        key = b"hot-%d" % (number % 3) if number < 100 else b"late-%d" % number
        log.append_now(SOURCE, 0, [Entry(key, b"1", [])])
    job = counting.job()
    kept = await _owned_for(log, job, range(1, 101), committed=None)
    log.lose(CHANGELOG, 0, 20)
    second = await _owned_for(log, job, [100, 200, *range(201, 251)], committed=5)
    assert second.changelog_next > kept.changelog_next
    await _owned_for(log, job, range(251, 301), committed=200)
    expected, _ = counting.sequential(log, job)
    again = await _owned_for(log, job, [400], committed=300, kept=kept)
    assert {key: again.table.at_rest(key) for key in again.table} == expected


async def _owned_for(log: MemoryLog, job: Any, ends: Sequence[int], *, committed: int | None, **options: Any) -> Owned:
    """Own the partition for batches that end before these offsets; return the state as it is kept afterwards."""
    running = Running(log, job, await counting.restored(log, job, committed, **options))
    partition = running.partition
    partition.start()
    for end in ends:
        partition.submit([one for one in log.records(SOURCE, 0) if partition.folded < one.offset < end])
        await until(lambda end=end: partition.durable >= end - 1)
    assert await partition.drain()
    return partition.given_up()


async def test_a_changelog_that_is_not_there_is_refused() -> None:
    """With the remedy of a job that begins, or with that of one whose changelog was deleted."""
    log = MemoryLog({SOURCE: 1, OUT: 2, DLQ: 1})
    counting.fill(log, 50, seed=6)
    with pytest.raises(Refused, match="create it before the worker starts") as new:
        await counting.restored(log, counting.job(), None)
    assert "--rebuild" not in str(new.value)
    with pytest.raises(Refused, match=r"was folded up to 40.*create it as declared and rebuild.*--rebuild"):
        await counting.restored(log, counting.job(), 40)


async def test_a_claim_that_lands_before_what_was_read_reads_again_at_once() -> None:
    """The changelog is lost between the scan and the claim: nobody waits for the end that is gone."""

    class Losing(MemoryLog):
        lost = False

        async def append(self, topic: str, partition: int, entries: Any) -> int:
            if topic == CHANGELOG and self.lost:
                self.lost = False
                self.lose(CHANGELOG, 0, 0)
            return await super().append(topic, partition, entries)

    log = Losing(TOPICS)
    counting.fill(log, 50, seed=6)
    job = counting.job(confirm_seconds=600.0)
    await run_to_end(log, job)
    log.lost = True
    async with asyncio.timeout(20):
        with pytest.raises(Refused, match="had seen records that are gone"):
            await counting.restored(log, job, None)


async def test_a_rebuild_that_landed_elsewhere_makes_no_changelog_whole() -> None:
    """It says from where on the changelog is whole, by offsets of a topic that is gone: refused with the remedy."""
    log = counting.memory_log()
    counting.fill(log, 50, seed=6)
    repairs = [(b"key-1", b'{"count": 1, "sum": 1}'), changelog.rebuilt_from(30)]
    log.append_now(CHANGELOG, 0, changelog.batch(repairs, 49, 1, changelog.successor(changelog.NOBODY), 30))
    with pytest.raises(Refused, match=r"had seen records that are gone.*--rebuild"):
        await counting.restored(log, counting.job(), 50)


@pytest.mark.parametrize("rebuild", [False, True])
async def test_a_source_that_was_made_anew_and_has_grown_since_is_refused(rebuild: bool) -> None:
    """It goes up to where the state was folded, but what stands there is another record: refused, rebuilding too.

    A rebuild would take what the new log has up to there for sent already.
    """
    log = counting.memory_log()
    counting.fill(log, 100, seed=12)
    job = counting.job(max_batch_records=10)
    first = await run_to_end(log, job)
    kept = first.partition.given_up()
    log.lose(SOURCE, 0, 0)
    counting.fill(log, 200, seed=13)
    before = log.records(CHANGELOG, 0)
    for options in ({"kept": kept}, {}):
        with pytest.raises(Refused, match=r"record at 99 is not the one that was read.*anew, and has grown since"):
            await counting.restored(log, job, None, rebuild=rebuild, **options)
    assert log.records(CHANGELOG, 0) == before


@pytest.mark.parametrize("made_by", ["claim", "rebuild"])
async def test_every_owner_says_which_record_it_goes_on_from(made_by: str) -> None:
    """Also one that has folded nothing yet: its claim, and what it has built again, tell the next one."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=12)
    await run_to_end(log)
    for _ in range(2):
        await counting.restored(log, counting.job(), 100, rebuild=made_by == "rebuild")
    log.truncate(CHANGELOG, 0, (await log.bounds(CHANGELOG, 0)).end - 2)
    found = changelog.Restored()
    found.scan(log.records(CHANGELOG, 0))
    assert found.last == changelog.fingerprint(log.records(SOURCE, 0)[99])


async def test_a_source_that_is_put_back_from_a_copy_is_known_again() -> None:
    """The same records at the same offsets, appended at another time."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=12)
    await run_to_end(log)
    copy = [Entry(one.key, one.value, list(one.headers)) for one in log.records(SOURCE, 0)]
    log.lose(SOURCE, 0, 0)
    log.clock_ms += 86_400_000
    log.append_now(SOURCE, 0, copy)
    assert (await counting.restored(log, counting.job(), 100)).position == 99


async def test_a_source_whose_last_folded_record_is_gone_goes_on_behind_it() -> None:
    """Retention has taken what was folded and nothing else: there is nothing left to compare, and nothing is missed."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=12)
    await run_to_end(log)
    counting.fill(log, 10, seed=13)
    log.truncate(SOURCE, 0, 100)
    assert (await counting.restored(log, counting.job(), 100)).position == 99


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


@pytest.mark.parametrize("lost", ["all", "the end"])
async def test_a_changelog_that_was_made_anew_under_its_owner_is_refused(lost: str) -> None:
    """A batch lands where less stands than its owner knew: what is there is no whole state, whatever was committed.

    So is a changelog whose end was lost. A rebuild heals both.
    """
    log = counting.memory_log()
    counting.fill(log, 100, seed=12, keys=20)
    job = counting.job(max_batch_records=10)
    end = (await run_to_end(log, job)).partition.changelog_next
    left = 0 if lost == "all" else end - 3
    owner = changelog.Watermark.decode(log._records[CHANGELOG, 0][-1].value or b"").owner
    log.lose(CHANGELOG, 0, left)
    log.append_now(CHANGELOG, 0, changelog.batch([(b"key-1", b'{"count": 1, "sum": 1}')], 99, 1, owner, end))
    with pytest.raises(Refused, match=r"made anew, or lost its end.*--rebuild"):
        await counting.restored(log, job, 100)
    expected, _ = counting.sequential(log, job)
    await counting.restored(log, job, 100, rebuild=True)
    again = await counting.restored(log, job, 100)
    assert {key: again.table.at_rest(key) for key in again.table} == expected


async def test_a_late_batch_behind_later_owners_does_not_hide_a_lost_end() -> None:
    """The end is lost, later owners claim what is left and are refused; then the newest batch lands once more.

    It stands behind the place that it was meant for and reaches what is committed. But where its owner had read
    records, a later owner stands.
    """
    log = counting.memory_log()
    counting.fill(log, 100, seed=12, keys=20)
    job = counting.job(max_batch_records=10)
    await run_to_end(log, job)
    first = await counting.restored(log, job, 100)
    end = first.changelog_next
    newest = changelog.batch([(b"key-1", b'{"count": 1, "sum": 1}')], 99, 1, first.owner, end)
    log.lose(CHANGELOG, 0, end - 6)
    for _ in range(4):
        with pytest.raises(Refused, match="--rebuild"):
            await counting.restored(log, job, 101)
    assert log.append_now(CHANGELOG, 0, newest) >= end
    with pytest.raises(Refused, match=r"had seen records that are gone.*--rebuild"):
        await counting.restored(log, job, 100)


async def test_a_late_batch_behind_a_later_owner_is_no_loss() -> None:
    """A claim lands where the batch of a zombie was meant to begin, and in the middle of where it was to stand."""
    log = counting.memory_log()
    counting.fill(log, 100, seed=12, keys=20)
    job = counting.job()
    await run_to_end(log, job)
    expected, _ = counting.sequential(log, job)
    first = await counting.restored(log, job, 100)
    late = [(key, first.table.at_rest(key)) for key in first.table]
    await counting.restored(log, job, 100)
    log.append_now(CHANGELOG, 0, changelog.batch(late, 99, 1, first.owner, first.changelog_next))
    again = await counting.restored(log, job, 100)
    assert {key: again.table.at_rest(key) for key in again.table} == expected


class Mortal(MemoryLog):
    """Takes so many more appends, then the process dies over the next one."""

    left = 1_000

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        if not self.left:
            raise ConnectionError("died")
        self.left -= 1
        return await super().append(topic, partition, entries)


@pytest.mark.parametrize("dies_after", range(8))
async def test_an_owner_that_dies_over_a_repair_leaves_what_tells_that_it_is_needed(dies_after: int) -> None:
    """A late append hides the states of its keys; the next owner dies before, between or after its claim and repairs.

    Compaction then removes everything newer that stood before the late append, tombstones too. Whoever comes then has
    the right states. Each repair, and each former claim that is taken away, is an append of its own here.
    """
    log = Mortal(TOPICS)
    for _ in range(30):
        log.append_now(SOURCE, 0, [Entry(b"k", b"1", []), Entry(b"l", b"1", [])])
    job = counting.job(max_batch_records=10)
    zombie = await counting.restored(log, job)
    await run_to_end(log, job)
    states, _ = counting.sequential(log, job)
    wrong = b'{"count": 5, "sum": 5}'
    log.append_now(CHANGELOG, 0, changelog.batch([(b"k", wrong), (b"l", wrong)], 9, 1, zombie.owner))
    appends, log.left = log.left, dies_after
    try:
        await counting.restored(log, counting.job(max_batch_bytes=100), 60)
        assert dies_after > 4, "a claim, two repairs, two former claims with the new one in the last"
    except ConnectionError:
        assert not log.left
    log.left = appends
    for _ in range(2):
        log.clock_ms += 2 * job.compaction_lag_ms
        log.compact(CHANGELOG, 0, lag_ms=job.compaction_lag_ms, tombstone_ms=1)
    owned = await counting.restored(log, job, 60)
    assert {key: owned.table.at_rest(key) for key in owned.table} == states
    assert owned.position == 59


async def test_a_rebuild_whose_claim_is_disturbed_makes_the_changelog_whole_from_where_it_says() -> None:
    """Somebody appends just before the claim that ends a rebuild: all states stand behind the word that they do."""
    log = counting.Raced(TOPICS)
    for number in range(50):
        log.append_now(SOURCE, 0, [Entry(b"k%d" % number, b"1", [])])
    await run_to_end(log)
    states, _ = counting.sequential(log, counting.job())
    log.late = changelog.batch([], 49, 1, changelog.NOBODY)
    await counting.restored(log, counting.job(), 50, rebuild=True)
    *_, start = (one.value or b"" for one in log.records(CHANGELOG, 0) if one.key == changelog.REBUILT)
    log.truncate(CHANGELOG, 0, int.from_bytes(start, "big"))
    owned = await counting.restored(log, counting.job(), 50)
    assert {key: owned.table.at_rest(key) for key in owned.table} == states


async def _hidden(log: MemoryLog, job: Any) -> dict[bytes, bytes]:
    """Fold twenty events of one key, then hide its state behind a zombie's late append; return the right states."""
    for _ in range(20):
        log.append_now(SOURCE, 0, [Entry(b"k", b"1", [])])
    zombie = await counting.restored(log, job)
    await run_to_end(log, job)
    states, _ = counting.sequential(log, job)
    log.append_now(CHANGELOG, 0, changelog.batch([(b"k", b'{"count": 1, "sum": 1}')], 0, 1, zombie.owner))
    return states


@pytest.mark.parametrize(("seconds_left", "rebuilt"), [(30, True), (90, False)])
async def test_a_repair_has_a_minute_to_land_before_compaction(seconds_left: int, rebuilt: bool) -> None:
    """What hides behind a late append that compaction may clean within the minute may be gone: it is folded anew."""
    log = counting.Watched(TOPICS)
    job = counting.job(max_batch_records=10)
    states = await _hidden(log, job)
    log.clock_ms += job.compaction_lag_ms - seconds_left * 1_000
    assert not log.read_source
    owned = await counting.restored(log, job, 20)
    assert log.read_source == rebuilt
    assert {key: owned.table.at_rest(key) for key in owned.table} == states


async def test_the_end_that_an_append_has_told_is_waited_for() -> None:
    """A claim lands behind what a leader who was cut off does not tell of yet: it is asked again before the next."""

    class CutOff(counting.Raced):
        asked = appends = 0

        async def append(self, topic: str, partition: int, entries: Any) -> int:
            self.appends += topic == CHANGELOG
            return await super().append(topic, partition, entries)

        async def bounds(self, topic: str, partition: int) -> Any:
            bounds = await super().bounds(topic, partition)
            if topic != CHANGELOG or not self.appends or self.asked > 3:
                return bounds
            self.asked += 1
            return bounds._replace(end=before)

    log = CutOff(TOPICS)
    log.append_now(SOURCE, 0, [Entry(b"k", b"1", [])])
    await run_to_end(log)
    log.asked = log.appends = 0
    before = (await log.bounds(CHANGELOG, 0)).end
    log.late = changelog.batch([(b"k", b'{"count": 2, "sum": 3}')], 1, 1, b"o" * 16)
    log.append_now(SOURCE, 0, [Entry(b"k", b"2", [])])
    owned = await counting.restored(log, counting.job(confirm_seconds=5.0), 1)
    assert owned.table.at_rest(b"k") == b'{"count": 2, "sum": 3}'
    assert log.asked > 3
    assert log.appends == 3


async def test_a_late_deletion_is_told_by_its_watermark() -> None:
    """A late append deletes a key, and compaction removes the key's newer state and the tombstone: it is rebuilt."""
    log = counting.memory_log()
    for value in (b"1", b"delete", b"2"):
        log.append_now(SOURCE, 0, [Entry(b"k", value, []), Entry(b"other", b"1", [])])
    job = counting.job()
    zombie = await counting.restored(log, job)
    await run_to_end(log, job)
    states, _ = counting.sequential(log, job)
    assert b"k" in states
    log.append_now(CHANGELOG, 0, changelog.batch([(b"k", None)], 3, 1, zombie.owner))
    for _ in range(2):  # the second removes the tombstone
        log.clock_ms += 2 * job.compaction_lag_ms
        log.compact(CHANGELOG, 0, lag_ms=job.compaction_lag_ms, tombstone_ms=1)
    assert b"k" not in {record.key for record in log.records(CHANGELOG, 0)}
    owned = await counting.restored(log, job, 6)
    assert {key: owned.table.at_rest(key) for key in owned.table} == states


async def test_a_state_that_was_deleted_long_ago_does_not_come_back() -> None:
    """A late append has a state of a key that was deleted since and whose tombstone is gone: it stays deleted."""
    log = counting.memory_log()
    for value in (b"1", b"delete"):
        log.append_now(SOURCE, 0, [Entry(b"k", value, []), Entry(b"other", b"1", [])])
    job = counting.job()
    zombie = await counting.restored(log, job)
    await run_to_end(log, job)
    for _ in range(2):  # the second removes the tombstone
        log.clock_ms += 2 * job.compaction_lag_ms
        log.compact(CHANGELOG, 0, lag_ms=job.compaction_lag_ms, tombstone_ms=1)
    log.append_now(CHANGELOG, 0, changelog.batch([(b"k", b'{"count": 1, "sum": 1}')], 0, 1, zombie.owner))
    owned = await counting.restored(log, job, 4)
    assert list(owned.table) == [b"other"]
    again = await counting.restored(log, job, 4)
    assert list(again.table) == [b"other"]


async def test_the_age_of_a_late_append_goes_by_the_brokers_clock() -> None:
    """A process whose clock is an hour slow rebuilds what compaction may have taken, once an append tells the time."""

    class Slow(MemoryLog):
        told = False

        async def append(self, topic: str, partition: int, entries: Any) -> int:
            self.told = True
            return await super().append(topic, partition, entries)

        def now_ms(self) -> int:
            return self.clock_ms - (0 if self.told else 3_600_000)

    log = Slow(TOPICS)
    log.clock_ms = 10_000_000
    job = counting.job(max_batch_records=10)
    states = await _hidden(log, job)
    log.clock_ms += 2 * job.compaction_lag_ms
    log.compact(CHANGELOG, 0, lag_ms=job.compaction_lag_ms)
    log.told = False
    owned = await counting.restored(log, job, 20)
    assert {key: owned.table.at_rest(key) for key in owned.table} == states


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
