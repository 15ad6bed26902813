"""Words that are ahead of the clock: a source whose clock is fast does not outlast what is said after it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import cases, consent
from streams.customer import Customer
from streams.fold import HANDLERS, WORDS
from streams.meaning import PLACE, as_heard
from tests.streams.journal import DAY, START, Journal, interaction, kinds

MINUTE = 60_000
HOUR = 60 * MINUTE
MARKETING = {"purpose": "marketing"}


def may_sell(journal: Journal) -> bool:
    """Return whether marketing is allowed."""
    return consent.allowed(journal.customer(), "MARKETING", "OUTLET")


@pytest.mark.parametrize("ticks", [True, False])
def test_a_yes_of_a_fast_clock_does_not_outlast_a_no(ticks: bool) -> None:
    """A source is an hour fast; the withdrawal ten minutes later counts, and for ever.

    So it does while no tick comes between, as when the coordinator is down.
    """
    journal = Journal()
    journal.tick(START)
    journal.interact("consent.given", occurred_at=START + HOUR, attributes=MARKETING)
    assert may_sell(journal)
    if ticks:
        journal.tick(START + 10 * MINUTE)
    journal.interact("consent.withdrawn", occurred_at=START + 10 * MINUTE, attributes=MARKETING)
    assert not may_sell(journal)
    journal.tick(START + 30 * DAY)
    assert not may_sell(journal)
    journal.interact("consent.given", occurred_at=START + 30 * DAY, attributes=MARKETING)
    assert may_sell(journal)


@pytest.mark.parametrize("ticks", [True, False])
def test_a_no_of_a_fast_clock_yields_to_a_later_yes_only_after_the_clock_moved(ticks: bool) -> None:
    """At one reading of the clock the withdrawal wins, whichever came first; at a later one the later word."""
    journal = Journal()
    journal.tick(START)
    journal.interact("consent.withdrawn", occurred_at=START + HOUR, attributes=MARKETING)
    if ticks:
        journal.tick(START + MINUTE)
    journal.interact("consent.given", occurred_at=START + MINUTE, attributes=MARKETING)
    assert may_sell(journal) is ticks


def test_without_a_clock_words_count_by_their_own_times() -> None:
    """Before anything has told the time there is nothing to be ahead of."""
    journal = Journal()
    journal.interact("consent.given", occurred_at=START + HOUR, attributes=MARKETING)
    journal.interact("consent.withdrawn", occurred_at=START + 10 * MINUTE, attributes=MARKETING)
    assert may_sell(journal)


def test_a_watermark_of_any_origin_tells_the_time_of_words() -> None:
    """In a backlog the clock is the slowest origin; words up to the fastest count by their own times."""
    journal = Journal()
    journal.watermark(1, START, 2, 0)
    journal.watermark(2, START + 30 * DAY, 2, 0)
    assert journal.state().clock_ms == START
    journal.interact("consent.withdrawn", occurred_at=START + 2 * DAY, attributes=MARKETING)
    journal.interact("consent.given", occurred_at=START + DAY, attributes=MARKETING)
    assert not may_sell(journal)
    assert journal.customer().consents["marketing/*"].at_ms == START + 2 * DAY


def test_of_cases_ahead_of_the_clock_the_journal_decides() -> None:
    """An opening and a reopening of a fast clock do not outlast the resolutions after them, nor does a resolution."""
    journal = Journal()
    journal.tick(START)
    journal.interact("bill.disputed", reference="d1", occurred_at=START + HOUR)
    assert "LIFTED" in kinds(journal.interact("dispute.resolved", reference="d1", occurred_at=START + MINUTE))
    journal.interact("case.reopened", reference="d1", occurred_at=START + 2 * HOUR)
    assert cases.open_disputes(journal.customer()) == ["d1"]
    journal.interact("dispute.resolved", reference="d1", occurred_at=START + 2 * MINUTE)
    assert cases.open_disputes(journal.customer()) == []
    journal.tick(START + 3 * MINUTE)
    journal.interact("dispute.resolved", reference="d1", occurred_at=START + HOUR)
    journal.tick(START + 5 * MINUTE)
    journal.interact("case.reopened", reference="d1", occurred_at=START + 4 * MINUTE)
    assert cases.open_disputes(journal.customer()) == ["d1"]


def test_only_words_are_heard_and_the_rest_keeps_its_time() -> None:
    """A purchase, a complaint and the contact itself keep the time that their source says."""
    journal = Journal()
    journal.tick(START)
    journal.interact("purchase.made", occurred_at=START + HOUR, amount_minor=1)
    journal.interact("complaint.made", occurred_at=START + 2 * HOUR)
    journal.interact("case.opened", occurred_at=START + 3 * HOUR, reference="c1")
    ann = journal.customer()
    assert (ann.last_purchase_ms, ann.last_complaint_ms, ann.last_seen_ms) == (
        START + HOUR,
        START + 2 * HOUR,
        START + 3 * HOUR,
    )
    assert ann.cases["c1"].at_ms == START
    assert sorted(WORDS) == [
        "bill.disputed",
        "case.opened",
        "case.reopened",
        "case.resolved",
        "consent.given",
        "consent.withdrawn",
        "dispute.resolved",
        "profile.changed",
    ]


def test_a_word_that_is_not_ahead_is_itself() -> None:
    """At the clock or before it, or where there is none, the event is passed on as it is."""
    event = interaction("case.opened", occurred_at=START)
    assert as_heard(event, START, 7) is event
    assert as_heard(event, 0, 7) is event
    assert as_heard(event, START - 1, 7) == event | {"occurred_at": START - 1, PLACE: 8}


said = st.lists(
    st.tuples(
        st.sampled_from(sorted(WORDS)),
        st.sampled_from(["d1", "d2"]),
        st.integers(0, 40),
        st.integers(0, 20),
    ),
    max_size=12,
)


@given(said, st.randoms(use_true_random=False))
def test_words_as_heard_come_out_the_same_in_any_order(words: list[tuple[str, str, int, int]], random: Any) -> None:
    """Once the clock of its arrival has dated a word, shuffles and repetitions fold to the same cases and consents."""
    clock = START
    heard = []
    for offset, (type_, reference, hour, step) in enumerate(words):
        clock += step * HOUR
        event = interaction(type_, reference=reference, occurred_at=START + hour * HOUR, attributes=MARKETING)
        heard.append(as_heard(event, clock, offset))

    def fold(sequence: list[Any]) -> tuple[Any, Any]:
        customer = Customer()
        for event in sequence:
            HANDLERS[event["type"]](customer, event)
        return customer.cases, customer.consents

    again = heard * 2
    random.shuffle(again)
    assert fold(again) == fold(heard)


@settings(max_examples=60, deadline=None)
@given(said, st.integers(0, 20), st.integers(0, 40))
def test_a_no_ahead_of_the_clock_beats_all_that_came_before(
    words: list[tuple[str, str, int, int]], step: int, ahead: int
) -> None:
    """Whatever was said before at whatever times, a withdrawal and a resolution that are ahead of the clock count."""
    journal = Journal(None, None)
    clock = START
    for type_, reference, hour, hours in words:
        clock += hours * HOUR
        journal.tick(clock)
        fields: dict[str, Any] = {"reference": reference, "attributes": MARKETING}
        journal.interact(type_, occurred_at=min(clock + 2 * DAY, START + hour * HOUR), **fields)
    clock += step * HOUR
    journal.tick(clock + 1)
    at = clock + 2 + ahead * HOUR
    journal.interact("consent.withdrawn", occurred_at=at, attributes=MARKETING)
    for reference in ("d1", "d2"):
        journal.interact("dispute.resolved", reference=reference, occurred_at=at)
    assert not may_sell(journal)
    assert cases.open_cases(journal.customer()) == 0
