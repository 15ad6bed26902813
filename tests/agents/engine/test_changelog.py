"""What a changelog says of itself: formats that are refused, who is late, whose claims stand."""

from typing import Any

import pytest

from agents.engine import changelog
from agents.engine.changelog import CLAIM, NOBODY, REBUILT, WATERMARK, Restored, Watermark
from agents.engine.errors import Refused
from agents.engine.memory import MemoryLog
from agents.engine.records import Entry
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG, SOURCE
from tests.agents.engine.test_partition import run_to_end

FIRST = changelog.successor(NOBODY)
SECOND = changelog.successor(FIRST)
TWIN = changelog.successor(NOBODY)
"""Claims at once with FIRST."""


def scanned(*batches: Any) -> Restored:
    """Append batches to an empty changelog and scan it."""
    log = counting.memory_log()
    for batch in batches:
        log.append_now(CHANGELOG, 0, batch)
    found = Restored()
    found.scan(log.records(CHANGELOG, 0))
    return found


MARK = changelog.batch([], 1, 1, FIRST)[-1][2]
UNREADABLE = [
    (Entry(WATERMARK, None, MARK), "format empty.*start the release that wrote it"),
    (Entry(WATERMARK, b"", MARK), "format empty.*start the release that wrote it"),
    (Entry(WATERMARK, b"\5" + Watermark(1, 1, FIRST).encode()[1:], MARK), "format 05.*start the release"),
    (Entry(WATERMARK, Watermark(1, 1, FIRST).encode()[:-1], MARK), "format 04.*start the release"),
    (Entry(REBUILT, None, MARK), "no offset"),
    (Entry(REBUILT, b"1", MARK), "no offset"),
    (Entry(b"k", b"1", []), "source-changelog/0/64 has no fence"),
    (Entry(b"foreign", b"1", [("fence", b"12345678")]), "source-changelog/0/64 has no fence"),
    (Entry(b"k", None, [("other", bytes(24))]), "source-changelog/0/64 has no fence"),
    (Entry(b"k", b"1", [("fence", None)]), "source-changelog/0/64 has no fence"),  # type: ignore[list-item]
    (Entry(None, b"1", MARK), "source-changelog/0/64 has no fence"),
    (Entry(CLAIM + b"foreign", b"1", []), "source-changelog/0/64 has no fence"),
]


@pytest.mark.parametrize(("entry", "told"), UNREADABLE)
async def test_what_cannot_be_read_is_refused_until_the_state_is_rebuilt(entry: Entry, told: str) -> None:
    """Another format, and what something else wrote, is not guessed at; the remedy that is told works, once for all."""
    log = counting.memory_log()
    counting.fill(log, 60, seed=4)
    job = counting.job(max_batch_records=10)
    await run_to_end(log, job)
    end = (await log.bounds(CHANGELOG, 0)).end
    log.append_now(CHANGELOG, 0, [Entry(b"pad", None, MARK)] * (64 - end) + [entry])
    for _ in range(2):
        with pytest.raises(Refused, match=f"{told}.*worker option --rebuild"):
            await counting.restored(log, job, 60)
    states, _ = counting.sequential(log, job)
    await counting.restored(log, job, 60, rebuild=True)
    owned = await counting.restored(log, job, 60)
    assert {key: owned.table.at_rest(key) for key in owned.table} == states
    _assert_stands(log, states)


def _assert_stands(log: MemoryLog, states: dict[bytes, bytes]) -> None:
    """Compare with what compaction leaves: nothing foreign, one claim, one watermark and where the rebuild began."""
    newest = {one.key: one.value for one in log.records(CHANGELOG, 0) if one.key}
    left = {key: value for key, value in newest.items() if value is not None}
    assert {key: value for key, value in left.items() if not key.startswith(changelog.OWN)} == states
    assert sorted(key[: len(CLAIM)] for key in left if key.startswith(changelog.OWN)) == [
        CLAIM,
        REBUILT[: len(CLAIM)],
        WATERMARK[: len(CLAIM)],
    ]


async def test_what_is_foreign_and_comes_amid_a_rebuild_is_removed_too() -> None:
    """It lands just before the claim that ends the rebuild, which is made again behind it."""
    log = counting.Raced({SOURCE: 1, counting.OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    counting.fill(log, 60, seed=4)
    job = counting.job(max_batch_records=10)
    await run_to_end(log, job)
    log.late = [Entry(b"foreign", b"1", [])]
    await counting.restored(log, job, 60, rebuild=True)
    states, _ = counting.sequential(log, job)
    owned = await counting.restored(log, job, 60)
    assert {key: owned.table.at_rest(key) for key in owned.table} == states
    _assert_stands(log, states)


def test_a_watermark_of_the_build_before_is_read() -> None:
    """It does not say which record was folded last; everything else stands."""
    ((key, value, headers),) = changelog.batch([], 1, 1, FIRST)
    assert value is not None
    found = scanned([Entry(key, b"\3" + value[1 : -len(changelog.NOTHING_FOLDED)], headers)])
    assert (found.position, found.partitions, found.last) == (1, 1, changelog.NOTHING_FOLDED)
    assert found.unreadable_at < 0


def test_a_late_watermark_does_not_say_which_record_was_folded_last() -> None:
    """Only that of the newest fence does, and only once it has been read."""
    newest, late = (changelog.batch([(b"k", b"1")], at, 1, FIRST, last=bytes([at] * 8)) for at in (5, 3))
    assert scanned(newest, late).last == bytes([5] * 8)
    assert scanned(late, newest[:-1]).last == changelog.NOTHING_FOLDED


@pytest.mark.parametrize(
    "other",
    [
        Entry(None, b"v", [("h", b"1")]),
        Entry(b"k", None, [("h", b"1")]),
        Entry(b"", b"v", [("h", b"1")]),
        Entry(b"kv", b"", [("h", b"1")]),
        Entry(b"k", b"v", [("h", None)]),  # type: ignore[list-item]
        Entry(b"k", b"v", [("h", b"1"), ("h", b"1")]),
        Entry(b"k", b"v", [("h1", b"")]),
    ],
)
def test_a_fingerprint_tells_records_apart(other: Entry) -> None:
    """By key, value and headers, each with its bounds; not by place and time."""
    log = counting.memory_log()
    for entry in (Entry(b"k", b"v", [("h", b"1")]), other, Entry(b"k", b"v", [("h", b"1")])):
        log.append_now(CHANGELOG, 0, [entry])
        log.clock_ms += 1
    one, another, copy = map(changelog.fingerprint, log.records(CHANGELOG, 0))
    assert one == copy != another


def test_other_headers_do_not_hide_the_mark() -> None:
    """A header that somebody puts before the fence, as tracing does, changes nothing."""
    (state, watermark) = changelog.batch([(b"k", b"1")], 7, 1, FIRST)
    found = scanned([Entry(*state[:2], [("traceparent", b"00"), *state[2]]), watermark])
    assert (found.position, found.owner) == (7, FIRST)


def test_a_scan_says_where_it_ended() -> None:
    """The offset behind the last record of it; the records of an owner are not late among themselves."""
    found = scanned(changelog.batch([(b"k", b"1")], 3, 1, FIRST), changelog.batch([(b"k", b"2")], 3, 1, FIRST))
    assert found.next_offset == 4
    assert not found.suspects


def test_of_two_with_one_number_the_first_owns() -> None:
    """Who claims at once with another and comes second is late, and has not begun when the other did."""
    found = scanned(changelog.batch([changelog.claim(FIRST)], 3, 1, FIRST), changelog.batch([], 3, 1, TWIN, 99))
    assert found.owner == FIRST
    assert list(found.suspects) == [WATERMARK]
    assert found.followed == {FIRST[:8]: 0}


def test_what_follows_a_late_append_clears_it() -> None:
    """A newer version of a key behind a late one is the last offset too, which compaction keeps: nothing is suspect."""
    found = scanned(
        changelog.batch([(b"k", b"2")], 5, 1, SECOND),
        changelog.batch([(b"k", b"1")], 3, 1, FIRST),
        changelog.batch([(b"k", b"3")], 9, 1, SECOND),
    )
    assert not found.suspects


def test_a_rebuild_of_nothing_is_whole_from_its_first_record() -> None:
    """Where there are no states the word that the changelog is whole stands first, at the offset that it names."""
    before = changelog.batch([(b"k", b"1")], 3, 1, FIRST)
    found = scanned(before, changelog.batch([changelog.rebuilt_from(len(before))], 3, 1, SECOND))
    assert found.whole_from == len(before)


async def test_a_sound_changelog_is_claimed_by_one_small_append() -> None:
    """Owner after owner: one batch each, with the former claim taken away; nothing repaired, the source not read.

    However old everything is, and with the states of several batches of the same owner.
    """

    log = counting.Watched({SOURCE: 1, counting.OUT: 2, counting.DLQ: 1, CHANGELOG: 1})
    counting.fill(log, 60, seed=4)
    job = counting.job(max_batch_records=10)
    await run_to_end(log, job)
    for _ in range(5):
        log.clock_ms += 3 * job.compaction_lag_ms
        end = (await log.bounds(CHANGELOG, 0)).end
        owned = await counting.restored(log, job, 60)
        appended = log.between(CHANGELOG, 0, end, end + 100)
        kinds = [(one.key[: len(CLAIM)], one.value is None) for one in appended if one.key]
        assert kinds == [(CLAIM, True), (CLAIM, False), (WATERMARK[: len(CLAIM)], False)]
        assert owned.changelog_next == end + 3
    assert not log.read_source
