"""Aggregates over declared windows equal a count by hand, in any order of arrival."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.contact_policy import LONGEST_WINDOW_DAYS
from schemas.policy import Aggregate
from schemas.vocabulary import EventType, Measure
from streams import aggregates
from streams.customer import DAYS_KEPT, Customer
from streams.situation import Situation
from tests.streams.journal import DAY, START, Journal, interaction, pack

KINDS = (EventType.PURCHASE, EventType.VISIT)
events = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 200 * DAY), st.integers(-500, 10_000)), min_size=1, max_size=60
)


def value(customer: Customer, measure: Measure, days: int, now: int) -> Any:
    """Return the value of an aggregate over both types."""
    return aggregates.compute(Aggregate("x", KINDS, measure, days))(Situation(customer, {}, now, None))


@given(events, st.integers(1, LONGEST_WINDOW_DAYS), st.randoms(use_true_random=False))
def test_every_window_equals_a_count_by_hand(
    happened: list[tuple[EventType, int, int]], days: int, chance: Any
) -> None:
    """Counts, amounts and active days of whole UTC days, today included, whatever the order of arrival."""
    customer, other = Customer(), Customer()
    now = START + max(at for _, at, _ in happened)
    shuffled = list(happened)
    chance.shuffle(shuffled)
    for state, order in ((customer, happened), (other, shuffled)):
        for kind, at, amount in order:
            aggregates.note(state, interaction(kind.value, occurred_at=START + at, amount_minor=amount))
    assert customer.types == other.types
    today = now // DAY
    inside = [(START + at, amount) for _, at, amount in happened if today - days < (START + at) // DAY]
    assert value(customer, Measure.COUNT, days, now) == len(inside)
    assert value(customer, Measure.AMOUNT, days, now) == sum(amount for _, amount in inside)
    assert value(customer, Measure.ACTIVE_DAYS, days, now) == len({at // DAY for at, _ in inside})
    assert value(customer, Measure.DAYS_SINCE, 0, now) == 0.0
    total = sum(row[0] for row in customer.types.values())
    assert total == len(happened)


def test_days_that_no_window_reaches_are_forgotten() -> None:
    """A row never has more days than the longest window."""
    customer = Customer()
    for day in range(400):
        aggregates.note(customer, interaction("visit.made", occurred_at=START + day * DAY))
    aggregates.note(customer, interaction("visit.made", occurred_at=START))
    row = customer.types["visit.made"]
    assert len(row) == 2 + 3 * DAYS_KEPT
    assert row[0] == 401


def test_what_lies_ahead_pushes_nothing_out_of_a_window() -> None:
    """A source whose clock is two days fast does not shorten the longest window."""
    customer = Customer()
    for day in (0, 91, 93):
        aggregates.note(customer, interaction("visit.made", occurred_at=START + day * DAY))
    assert value(customer, Measure.COUNT, LONGEST_WINDOW_DAYS, START + 91 * DAY) == 3


def test_an_absurd_amount_is_counted_and_not_summed() -> None:
    """A sum always fits into a state."""
    customer = Customer()
    aggregates.note(customer, interaction("visit.made", amount_minor=2**62))
    assert value(customer, Measure.COUNT, 1, START) == 1
    assert value(customer, Measure.AMOUNT, 1, START) == 0


def test_a_window_declared_today_has_its_past() -> None:
    """The days are kept whatever the policy asks for, so that a new pack counts what came before it."""
    plain = json.loads(pack({"id": "a", "eligibility": "aggregate.visits_7d == 2"}))
    plain["aggregates"] = [{"id": "visits_7d", "events": ["visit.made"], "measure": "count", "window": "7d"}]
    journal = Journal(None)
    journal.interact("consent.given", attributes={"purpose": "marketing"})
    for day in (0, 3, 5):
        journal.interact("visit.made", occurred_at=START + day * DAY)
    journal.activate("POLICY", json.dumps(plain).encode())
    (output,) = journal.interact("purchase.made", occurred_at=START + 8 * DAY, amount_minor=1)
    assert output.body["action_id"] == "a"
    recall, output = journal.interact("purchase.made", occurred_at=START + 11 * DAY, amount_minor=1)
    assert (recall.body["reason"], output.body["reason"]) == ("NOT_ELIGIBLE", "NOT_ELIGIBLE")
