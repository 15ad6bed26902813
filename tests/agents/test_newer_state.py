"""A state that a newer release wrote, met by the fold of this one."""

import hashlib

import pytest

from agents import topology
from agents.engine.fold import Fold
from agents.engine.restore import new_table
from schemas import topics
from streams.customer import Customer
from streams.partition import PARTITION_KEY
from streams.state import STATE_CODEC, VERSION
from tests.streams.journal import ANN, Journal

NEWER = bytes([VERSION + 1]) + STATE_CODEC.encode(Customer(events=3))[1:]
COUNTS = {topics.NEXT_BEST_ACTIONS: 6, topics.SUPPRESSIONS: 6, topics.JOURNAL_DEAD: 1}


@pytest.mark.parametrize("key", [ANN.encode(), PARTITION_KEY])
def test_a_newer_state_stops_its_partition(key: bytes) -> None:
    """No record is dead-lettered for it and no state is lost: the partition waits, and the reason says for what."""
    journal = Journal(policy=None, model=None)
    journal.interact("visit.made")
    job = topology.fold_job({})
    table = new_table(job)
    table.load([(key, NEWER)])
    outcome = Fold(job, table, COUNTS)(journal.records)
    assert (outcome.consumed, outcome.dead_letters, outcome.sends, outcome.changes) == (0, 0, {}, [])
    assert f"has version {VERSION + 1}, this release reads up to {VERSION}" in str(outcome.blocked)
    assert "start the release that wrote it" in str(outcome.blocked)
    assert table.at_rest(key) == NEWER


def test_what_lies_before_it_is_folded() -> None:
    """Customers whose records come first are folded; the partition stops at the first that cannot be."""
    journal = Journal(policy=None, model=None)
    for name in ("bob", "ann"):
        journal.interact("visit.made", hashlib.md5(name.encode()).hexdigest())
    job = topology.fold_job({})
    table = new_table(job)
    table.load([(ANN.encode(), NEWER)])
    outcome = Fold(job, table, COUNTS)(journal.records)
    assert (outcome.consumed, outcome.position) == (1, 0)
    assert outcome.blocked is not None
