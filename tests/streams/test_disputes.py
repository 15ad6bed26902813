"""Disputes, suppression and consent under any order and any number of deliveries."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import cases, consent
from streams.customer import CLOSED_CASES, EVIDENCE, OPEN_CASES, Customer
from streams.errors import BadEvent
from streams.fold import HANDLERS
from tests.streams.journal import DAY, START, Journal, Output, interaction, kinds, pack

CASE_TYPES = ("bill.disputed", "dispute.resolved", "case.opened", "case.resolved", "case.reopened")

events = st.builds(
    lambda type_, reference, hour, id_: interaction(
        type_, reference=reference, occurred_at=START + hour * 3_600_000, event_id=id_
    ),
    st.sampled_from(CASE_TYPES),
    st.sampled_from(["d1", "d2", "d3"]),
    st.integers(0, 6),
    st.sampled_from("abcdef"),
)


def folded(sequence: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the cases of a customer to whom this happened, in this order."""
    customer = Customer()
    for event in sequence:
        HANDLERS[event["type"]](customer, event)
    return dict(customer.cases)


@given(st.lists(events, max_size=12), st.randoms(use_true_random=False))
def test_cases_come_out_the_same_in_any_order_and_number(happened: list[dict[str, Any]], random: Any) -> None:
    """A shuffle with repetitions folds to the same cases."""
    again = happened + [event for event in happened if random.random() < 0.5]
    random.shuffle(again)
    assert folded(again) == folded(happened)


@pytest.mark.parametrize(
    ("story", "is_open"),
    [
        (["open 1"], True),
        (["open 1", "close 2"], False),
        (["close 2", "open 1"], False),
        (["open 1", "close 2", "reopen 3"], True),
        (["open 1", "reopen 3", "close 2"], True),
        (["open 1", "close 2", "reopen 3", "close 4"], False),
        (["open 1", "close 2", "open 3"], True),
        (["open 1", "close 1"], False),
        (["close 1", "reopen 1"], True),
        (["open 1", "close 1", "reopen 1"], True),
        (["reopen 1"], False),
        (["open 1", "resolve 2"], False),
    ],
)
def test_one_dispute(story: list[str], is_open: bool) -> None:
    """The newest word counts: at one moment a reopening beats a closing, which beats an opening.

    A reopening alone does not say that its id is a dispute: it is an open case, and holds nothing.
    """
    types = {
        "open": "bill.disputed",
        "close": "dispute.resolved",
        "reopen": "case.reopened",
        "resolve": "case.resolved",
    }
    customer = Customer()
    for number, word in enumerate(story):
        verb, hour = word.split()
        event = interaction(
            types[verb], reference="d1", occurred_at=START + int(hour) * 3_600_000, event_id=f"e{number}"
        )
        HANDLERS[event["type"]](customer, event)
    assert bool(cases.open_disputes(customer)) is is_open


def test_a_reopened_dispute_holds_also_if_only_its_closing_was_seen() -> None:
    """`dispute.resolved` says that the id is a dispute; a later reopening opens it."""
    customer = Customer()
    cases.dispute_resolved(customer, interaction(reference="d1", occurred_at=START, event_id="a"))
    cases.case_reopened(customer, interaction(reference="d1", occurred_at=START + 1, event_id="b"))
    assert cases.open_disputes(customer) == ["d1"]


def test_closed_cases_are_forgotten_oldest_first_and_open_ones_never() -> None:
    """State stays bounded however many disputes a customer has had."""
    customer = Customer()
    cases.dispute_opened(customer, interaction(reference="open", occurred_at=START - DAY, event_id="o"))
    for number in range(CLOSED_CASES + 20):
        event = interaction(reference=f"d{number}", occurred_at=START + number, event_id=f"c{number}")
        cases.dispute_resolved(customer, event)
    assert cases.open_disputes(customer) == ["open"]
    assert len(customer.cases) <= CLOSED_CASES + 1
    assert f"d{CLOSED_CASES + 19}" in customer.cases


def test_open_cases_are_bounded_and_closing_one_makes_room() -> None:
    """More open cases than are kept are refused with what to do; words on known ones and closings never are."""
    customer = Customer()
    for number in range(OPEN_CASES):
        cases.case_opened(customer, interaction(reference=f"c{number}", occurred_at=START))
    before = dict(customer.cases)
    for fold in (cases.case_opened, cases.dispute_opened, cases.case_reopened):
        with pytest.raises(BadEvent, match=f"{OPEN_CASES} open cases .* close those that are done"):
            fold(customer, interaction(reference="one-more", occurred_at=START))
    assert customer.cases == before
    cases.case_reopened(customer, interaction(reference="c1", occurred_at=START + 1))
    cases.case_resolved(customer, interaction(reference="late", occurred_at=START + 2))
    cases.case_opened(customer, interaction(reference="late", occurred_at=START + 1))
    with pytest.raises(BadEvent, match="open cases"):
        cases.case_reopened(customer, interaction(reference="late", occurred_at=START + 3))
    cases.case_resolved(customer, interaction(reference="c0", occurred_at=START + 1))
    cases.case_reopened(customer, interaction(reference="late", occurred_at=START + 3))
    assert cases.open_cases(customer) == OPEN_CASES


def test_evidence_keeps_what_began_the_suppression() -> None:
    """Of many events the first are kept, the cause among them, and the lift quotes the same ones."""
    journal = Journal(OFFERS)
    for number in range(EVIDENCE + 5):
        journal.interact("bill.disputed", reference=f"d{number}", occurred_at=START)
    first = tuple(f"e{number}" for number in range(EVIDENCE))
    hold = journal.customer().hold
    assert hold is not None
    assert hold.evidence == first
    outputs: list[Output] = []
    for number in range(EVIDENCE + 5):
        outputs = journal.interact("dispute.resolved", reference=f"d{number}", occurred_at=START + 1)
    assert outputs[0].body["status"] == "LIFTED"
    assert outputs[0].body["evidence"] == list(first)


moves = st.lists(
    st.tuples(
        st.sampled_from([*CASE_TYPES, "purchase.made", "consent.given", "consent.withdrawn", "message.sent"]),
        st.sampled_from(["d1", "d2"]),
        st.integers(0, 200),
        st.booleans(),
    ),
    max_size=30,
)

OFFERS = pack(
    {"id": "offer-a"},
    {"id": "offer-b", "propensity": 0.4},
    {"id": "help", "class": "service", "triggers": ["dispute.resolved"], "repeat_after": "1d"},
    triggers=["purchase.made", "dispute.resolved", "bill.disputed"],
)


@settings(max_examples=150, deadline=None)
@given(moves)
def test_suppression_alternates_and_no_marketing_leaves_under_it(story: list[tuple[str, str, int, bool]]) -> None:
    """Whatever happens in whatever order, on the log of one customer:

    starts and lifts alternate and name the same suppression; a start recalls all marketing that waits and has not
    expired; no marketing is proposed between them; a lift is followed by exactly one decision; what is recalled had
    been proposed and was neither recalled nor dispatched before.
    """
    journal = Journal(OFFERS)
    held: str | None = None
    waiting: dict[str, tuple[str, int]] = {}
    seen: list[str] = []
    for type_, reference, hours, repeat in story:
        fields: dict[str, Any] = {"occurred_at": START + hours * 3_600_000, "reference": reference, "amount_minor": 100}
        if type_.startswith("consent"):
            fields["attributes"] = {"purpose": "marketing"}
        if type_ == "message.sent" and waiting:
            fields["decision_id"] = next(iter(waiting))
            del waiting[fields["decision_id"]]
        outputs = journal.interact(type_, **fields)
        for output in outputs:
            body = output.body
            if body.get("status") == "STARTED":
                assert held is None
                held = body["suppression_id"]
            elif body.get("status") == "LIFTED":
                assert held == body["suppression_id"]
                held = None
                assert sum(kind in ("PROPOSED", "NO_ACTION") for kind in kinds(outputs)) == 1
            elif body["kind"] == "PROPOSED":
                assert held is None or body["action_class"] != "MARKETING"
                waiting[body["decision_id"]] = body["action_class"], body["valid_until"]
            elif body["kind"] == "RECALLED":
                waiting.pop(body["recalls"])
            seen.append(body.get("decision_id") or body["suppression_id"] + body["status"])
        if "STARTED" in kinds(outputs):
            now = fields["occurred_at"]
            assert all(kind != "MARKETING" or until < now for kind, until in waiting.values())
        waiting = {id_: kept for id_, kept in waiting.items() if id_ in journal.customer().queue}
        ann = journal.customer()
        assert (ann.hold is not None) == bool(cases.open_disputes(ann)) == (held is not None)
        if repeat:
            assert journal.interact(type_, event_id=f"e{journal._origin - 1}", **fields) == []
    assert len(seen) == len(set(seen))


words = st.lists(
    st.tuples(
        st.sampled_from(["consent.given", "consent.withdrawn"]),
        st.sampled_from(["marketing", "service"]),
        st.sampled_from(["OUTLET", "E_COMMERCE", None]),
        st.integers(0, 4),
    ),
    max_size=8,
)


@given(words, st.randoms(use_true_random=False))
def test_consent_is_the_newest_word_in_any_order(said: list[tuple[str, str, str | None, int]], random: Any) -> None:
    """Shuffled and repeated words give the same consents; the newest on the channel or on all of them decides."""

    def fold(sequence: list[tuple[str, str, str | None, int]]) -> Customer:
        customer = Customer()
        for type_, purpose, channel, hour in sequence:
            attributes = {"purpose": purpose} | ({"channel": channel} if channel else {})
            event = interaction(type_, occurred_at=START + hour, attributes=attributes)
            HANDLERS[type_](customer, event)
        return customer

    again = said * 2
    random.shuffle(again)
    assert fold(again).consents == fold(said).consents
    for action_class, purpose in (("MARKETING", "marketing"), ("SERVICE", "service"), ("TRANSACTIONAL", "service")):
        for channel in ("OUTLET", "E_COMMERCE", "TELEPHONY"):
            relevant = [
                (hour, type_ == "consent.withdrawn")
                for type_, about, where, hour in said
                if about == purpose and where in (None, channel)
            ]
            expected = not max(relevant)[1] if relevant else purpose == "service"
            assert consent.allowed(fold(said), action_class, channel) is expected
    assert consent.allowed(fold(said), "MANDATORY", "OUTLET")


def test_a_withdrawal_without_a_purpose_withdraws_all() -> None:
    """Consent is never guessed, its absence is."""
    customer = Customer()
    consent.withdrawn(customer, interaction("consent.withdrawn"))
    assert not consent.allowed(customer, "SERVICE", "OUTLET")
    assert not consent.allowed(customer, "MARKETING", "OUTLET")
