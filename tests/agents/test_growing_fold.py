"""A split journal through the engine's fold, in batches of any size, beside the oracle's fold of single records."""

from typing import Any

import pytest

from agents import topology
from agents.engine.fold import Fold
from agents.engine.restore import new_table
from agents.proof.sequential import Sequential
from agents.proof.subject import Reference
from schemas import headers as names
from schemas import topics
from streams import growth
from streams.partition import PARTITION_KEY
from tests.streams.journal import START, Record
from tests.streams.test_growth import story, tell

COUNTS = {topics.NEXT_BEST_ACTIONS: 6, topics.SUPPRESSIONS: 6, topics.JOURNAL_DEAD: 1}


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_batches_change_nothing(number: int, batch: int) -> None:
    """States, outputs and dead letters are the oracle's, copies muted, those who moved swept; poison is among them."""
    journal = story(14, 200)
    for minute in range(300):
        journal.tick(START + 40 * 86_400_000 + minute * 60_000)
    log = poisoned(tell(journal, {60: 2, 150: 4}).logs[number])
    job = topology.fold_job(journal.documents)
    table = new_table(job)
    fold = Fold(job, table, COUNTS)
    sent: dict[bytes, Any] = {}
    for start in range(0, len(log), batch):
        outcome = fold(log[start : start + batch])
        assert outcome.blocked is None
        for (topic, _), entries in outcome.sends.items():
            for key, value, headers in entries:
                sent[dict(headers)[names.POSITION]] = topic, key, value
    assert job.codec is not None
    reference = Sequential(
        Reference(
            step=job.step,
            codec=job.codec,
            dead_letter=job.dead_letter,
            muted=growth.is_copied,
            new_changelog=None,  # type: ignore[arg-type]
            customer_of=None,  # type: ignore[arg-type]
            type_of=None,  # type: ignore[arg-type]
            decode=None,  # type: ignore[arg-type]
            partition_of=job.partitioner,
        )
    )
    expected: dict[bytes, Any] = {}
    for record in log:
        for index, output in enumerate(reference.fold(record)):
            expected[b"%d/%d/%d" % (record.partition, record.offset, index)] = tuple(output[:3])
    assert {key: table.at_rest(key) for key in table} == reference.states
    assert sent == expected
    assert (topics.JOURNAL_DEAD in {topic for topic, _, _ in sent.values()}) == (reference.refused > 0)
    assert reference.refused > 0
    own = table.get(PARTITION_KEY)
    assert (own.split_to, own.copying, growth.is_swept(own)) == (4, False, True)
    assert all(growth.home(key, 4, number) == number for key in table if key != PARTITION_KEY)


def poisoned(log: list[Record]) -> list[Record]:
    """Return the records with some that are refused among them: before the Split as copies are, and behind it."""
    found: list[Record] = []
    for record in log:
        if record.key is not None and record.offset % 9 == 0:
            found.append(record._replace(value=b"\0nonsense"))
        found.append(record)
    return [record._replace(offset=offset) for offset, record in enumerate(found)]
