"""What a run of the changelog shows: amid copies, when customers have left, and of what no fold wrote."""

import pytest

from agents.engine import changelog
from agents.engine.records import Entry
from agents.views.runs import StateRun
from schemas.identity import journal_partition
from streams.partition import Partition
from tests.agents.engine import counting
from tests.agents.engine.counting import CHANGELOG

KEYS = [f"{number:032x}".encode() for number in range(40)]


def run_of(states: dict[bytes, bytes | None]) -> StateRun:
    run = StateRun(lambda _: 0, b"\0watermark")
    run.states = {key: (7, value) for key, value in states.items()}
    return run


@pytest.mark.parametrize("own", [None, Partition()])
def test_without_a_split_everything_is_shown(own: Partition | None) -> None:
    """Deleted states, too: they remove customers."""
    run = run_of({KEYS[0]: b"state", KEYS[1]: None})
    assert run.shown(0, own) == run.states


def test_copies_are_not_shown() -> None:
    """Until the copies have ended the old partition has the newer states."""
    assert run_of({KEYS[0]: b"state"}).shown(6, Partition(split_to=12, copying=True)) == {}


def test_who_has_moved_away_is_not_removed() -> None:
    """The old partition deletes those states; the new one shows the customers."""
    own = Partition(split_to=12)
    run = run_of(dict.fromkeys(KEYS) | {KEYS[0]: b"state"})
    shown = run.shown(3, own)
    assert KEYS[0] in shown
    assert {key for key in shown if shown[key][1] is None} == {
        key for key in KEYS[1:] if journal_partition(key.decode(), 12) == 3
    }


def test_what_no_fold_wrote_is_passed_over() -> None:
    """The folds refuse such a record until a rebuild; the views go on behind it, as they must after that."""
    log = counting.memory_log()
    owner = changelog.successor(changelog.NOBODY)
    log.append_now(CHANGELOG, 0, [Entry(b"k", b"foreign", []), Entry(None, b"foreign", [])])
    log.append_now(CHANGELOG, 0, changelog.batch([(b"k", b"state")], 7, 1, owner))
    log.append_now(CHANGELOG, 0, [Entry(b"k", b"foreign", [("fence", b"12345678")])])
    run = StateRun(changelog.fence_of, changelog.WATERMARK)
    run.take(log.records(CHANGELOG, 0))
    assert run.states == {b"k": (7, b"state")}
    assert (run.ended, run.next, run.records, run.refused) == (7, 5, 5, 3)
