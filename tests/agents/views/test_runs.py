"""What a run of the changelog shows, while a journal partition is filled with copies and when customers have left."""

import pytest

from agents.views.runs import StateRun
from schemas.identity import journal_partition
from streams.partition import Partition

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
