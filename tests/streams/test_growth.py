"""A journal that grows: states and outputs are those of one that was never split."""

import hashlib
import random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.identity import journal_partition
from streams import growth
from streams.errors import BadEvent
from streams.partition import ALL_SWEPT, PARTITION_KEY, Partition
from tests.streams.journal import DAY, START, Journal, Table
from tests.streams.splitting import Folded, Split

HOUR = 3_600_000
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A story of 200 records is not worth making smaller: shrinking takes minutes."""
CUSTOMERS = [hashlib.md5(b"%d" % number).hexdigest() for number in range(12)]
TYPES = (
    "purchase.made",
    "bill.disputed",
    "dispute.resolved",
    "case.reopened",
    "consent.given",
    "consent.withdrawn",
    "message.sent",
    "offer.accepted",
    "never.declared",
)


def story(seed: int, length: int) -> Journal:
    """Return a journal of one partition: ticks, watermarks, fast clocks, repetitions, poison, what was routed twice."""
    chance = random.Random(seed)
    journal = Journal()
    waiting: list[str] = []
    taken: list[Any] = []
    now, marks = START, 0
    for _ in range(length):
        now += chance.randrange(DAY // 4)
        what = chance.random()
        if what < 0.1:
            journal.tick(now)
        elif what < 0.13:
            journal.watermark(chance.randrange(1, 3), now - chance.randrange(DAY), 2, marks := marks + 1)
        elif what < 0.18 and taken:
            again = chance.choice(taken)._replace(offset=len(journal.records))
            journal.records.append(again)
            assert journal.fold(again) == []
        else:
            ahead = chance.random() < 0.3
            fields: dict[str, Any] = {
                "occurred_at": now + HOUR if ahead else now - chance.randrange(2 * DAY),
                "amount_minor": None if chance.random() < 0.05 else chance.randrange(10_000),
                "reference": f"d{chance.randrange(3)}",
                "decision_id": chance.choice(waiting) if waiting and chance.random() < 0.5 else None,
                "attributes": {"purpose": "marketing"},
                "channel": chance.choice(["OUTLET", "E_COMMERCE"]),
            }
            if chance.random() < 0.05:
                fields["event_id"] = "the-same"
            customer = chance.choice(CUSTOMERS)
            try:
                outputs = journal.interact(chance.choice(TYPES), customer, **fields)
            except BadEvent:
                continue
            taken.append(journal.records[-1])
            waiting += [output.body["decision_id"] for output in outputs if output.body.get("kind") == "PROPOSED"]
    return journal


def tell(journal: Journal, split_at: dict[int, int]) -> Split:
    """Write the records of a journal into one that is split before the n-th of them, to so many partitions."""
    found = Split(1)
    for number, record in enumerate(journal.records):
        if number in split_at:
            found.split(split_at[number])
        found.write(record)
    return found


@pytest.mark.parametrize("factor", [2, 3])
@given(seed=st.integers(0, 2**32), at=st.integers(2, 120), again=st.integers(0, 80))
@settings(max_examples=30, deadline=None, phases=PHASES)
def test_a_split_journal_gives_what_the_undisturbed_one_gives(factor: int, seed: int, at: int, again: int) -> None:
    """Split once or twice at any point: outputs with their ids, states, queues, holds, limits and cases are the same.

    What is different are positions: ids are compared by the place that a record has in the undisturbed journal.
    """
    journal = story(seed, 200)
    grown = tell(journal, {at: factor} | ({at + again: 2 * factor} if again else {}))
    undisturbed = Folded(journal.core, [journal.records])
    found = Folded(journal.core, grown.logs.values())
    same = {(0, record.offset): (0, record.offset) for record in journal.records}
    expected = undisturbed.as_if_never_split(same)
    outputs, customers = found.as_if_never_split(grown.first)
    assert outputs.keys() == expected[0].keys()
    assert outputs == expected[0]
    assert customers == expected[1]
    assert len(found.refused) == len(undisturbed.refused)
    before = undisturbed.partitions[0]
    for one in found.partitions.values():
        assert (one.clock_ms, one.watermarks) == (before.clock_ms, before.watermarks)
        assert (one.policy, one.model, one.logic) == (before.policy, before.model, before.logic)
    counted: dict[str, int] = {}
    for one in found.partitions.values():
        assert not one.copying
        for kind, number in one.undeclared.items():
            counted[kind] = counted.get(kind, 0) + number
    assert counted == undisturbed.partitions[0].undeclared


def test_states_of_those_who_moved_are_deleted_bit_by_bit() -> None:
    """After the Split each tick deletes the states under one first byte, whatever the order of the keys."""
    journal = story(5, 300)
    grown = tell(journal, {len(journal.records) - 1: 2})
    tables = []
    for reverse in (False, True):
        table = Sorted(reverse)
        for record in grown.logs[0]:
            fold_or_refuse(journal, table, record)
        assert len(table.rest) == 1 + len(CUSTOMERS)
        tables.append(table)
    for number in range(ALL_SWEPT):
        for table in tables:
            own = table.get(PARTITION_KEY)
            assert own.swept == number
            growth.sweep(table, own, 0)
            table.set(PARTITION_KEY, own)
        assert tables[0].rest == tables[1].rest
    left = {key for key in tables[0].rest if key != PARTITION_KEY}
    assert left == {key.encode() for key in CUSTOMERS if journal_partition(key, 2) == 0}
    assert growth.is_swept(tables[0].get(PARTITION_KEY))


def test_ticks_sweep() -> None:
    """Ticks delete, one byte each, and those that are not newer too; then nothing more happens."""
    journal = Journal()
    journal.tick(START)
    for customer in CUSTOMERS:
        journal.interact("visit.made", customer)
    grown = tell(journal, {})
    grown.split(2)
    for number in range(ALL_SWEPT + 2):
        journal.tick(START + number // 2)
        grown.write(journal.records[-1])
    found = Folded(journal.core, [grown.logs[0]])
    assert found.partitions[0].swept == ALL_SWEPT
    assert set(found.customers) == {key.encode() for key in CUSTOMERS if journal_partition(key, 2) == 0}


def test_a_sweep_is_cut() -> None:
    """No record deletes more states than a changelog batch holds; the next one goes on."""
    table = Table()
    own = Partition(split_to=2, swept=0)
    keys = [b"00%06x%024x" % (2 * number + 1, 0) for number in range(growth.SWEPT_AT_ONCE + 5)]
    for key in keys:
        table.rest[key] = b"state"
    growth.sweep(table, own, 0)
    assert (own.swept, len(table.rest)) == (0, 5)
    growth.sweep(table, own, 0)
    assert (own.swept, len(table.rest)) == (1, 0)


def test_a_router_that_did_not_know_is_told() -> None:
    """An interaction of somebody who has moved is no event here: the reason names the partition; others go on."""
    journal = story(1, 60)
    grown = tell(journal, {})
    grown.split(2)
    away, here = (next(key for key in CUSTOMERS if journal_partition(key, 2) == number) for number in (1, 0))
    for customer in (away, here):
        journal.interact("visit.made", customer)
        record = journal.records[-1]
        grown._append(0, record)
    table = Table()
    for record in grown.logs[0][:-2]:
        fold_or_refuse(journal, table, record)
    before = dict(table.rest)
    with pytest.raises(BadEvent, match=r"in partition 1 since the journal was split to 2.*attune dlq redrive"):
        journal.core(table, grown.logs[0][-2])
    assert table.rest == before
    journal.core(table, grown.logs[0][-1])
    assert table.rest != before


def test_what_was_copied_already_is_passed_over() -> None:
    """A batch of copies that lands twice changes nothing, nor does a Split, nor what a router routes again."""
    journal = story(2, 120)
    grown = tell(journal, {})
    grown.split(2)
    once = grown.logs[1]
    half = len(once) // 2
    twice = [*once[:half], *once[:half], *once[half:], once[-1], *once[half:-1]]
    twice = [record._replace(offset=offset) for offset, record in enumerate(twice)]
    first, second = (Folded(journal.core, [log]) for log in (once, twice))
    for customer in (*first.customers.values(), *second.customers.values()):
        customer.offset = 0
    assert first.customers == second.customers
    assert not second.partitions[1].copying
    again = next(record for record in journal.records if record.key in first.customers)
    table = Table()
    for record in once:
        fold_or_refuse(journal, table, record)
    before = dict(table.rest)
    assert journal.core(table, again._replace(partition=1, offset=len(once))) == []
    assert table.rest == before


def test_a_header_that_says_no_place_is_refused() -> None:
    """A record whose copied-from cannot be read is no event."""
    journal = story(3, 10)
    record = journal.records[-1]
    spoilt = record._replace(headers=[*record.headers, ("attune-copied", b"0/x")])
    with pytest.raises(BadEvent, match="attune-copied"):
        journal.core(Table(), spoilt)


class Sorted(Table):
    """A table that yields its keys in one order or the other."""

    def __init__(self, reverse: bool) -> None:
        super().__init__()
        self._reverse = reverse

    def present(self) -> list[bytes]:
        return sorted(self.rest, reverse=self._reverse)


def fold_or_refuse(journal: Journal, table: Table, record: Any) -> None:
    """Fold a record; one that is refused changes nothing."""
    before = dict(table.rest)
    try:
        journal.core(table, record)
    except BadEvent:
        table.rest = before
