"""After a rejection or a silence what is in scope rests, and responses are told from machines and from openings."""

import json
from typing import Any

import pytest

from tests.streams.journal import DAY, START, Journal, Output, pack

AFTER_REJECT = {"id": "r", "after": ["reject"], "scope": "action", "for": "30d"}
AFTER_SILENCE = {"id": "s", "after": ["no_response"], "scope": "action", "for": "20d", "response_within": "7d"}


def resting(*rules: dict[str, Any]) -> Journal:
    """Return a journal with two offers of one group, one of another group, and one of another issue."""
    words = [("b", "growth", "one"), ("a", "growth", "one"), ("c", "growth", "two"), ("d", "other", "three")]
    actions = [
        {"id": id_, "issue": issue, "group": group, "propensity": 0.9 - number / 10}
        for number, (id_, issue, group) in enumerate(words)
    ]
    plain = json.loads(pack(*actions)) | {"cool_off": list(rules)}
    journal = Journal(json.dumps(plain).encode())
    journal.interact("consent.given", attributes={"purpose": "marketing"})
    return journal


def buy(journal: Journal, day: float) -> Output:
    return journal.interact("purchase.made", occurred_at=START + int(day * DAY), amount_minor=1)[-1]


def tell(journal: Journal, kind: str, decision: Output, day: float, **fields: Any) -> None:
    """Let the channel report."""
    id_ = decision.body["decision_id"]
    journal.interact(kind, decision_id=id_, occurred_at=START + int(day * DAY), **fields)


def probe(journal: Journal, day: float) -> Output:
    """Return what would be decided: what is proposed is withheld at once."""
    output = buy(journal, day)
    if output.body["kind"] == "PROPOSED":
        tell(journal, "message.withheld", output, day)
    return output


def reason(output: Output, action: str = "b") -> str:
    """Return what became of one candidate."""
    return {candidate["action_id"]: candidate["reason"] for candidate in output.body["candidates"]}[action]


@pytest.mark.parametrize(("scope", "rests"), [("action", "b"), ("group", "ab"), ("issue", "abc"), ("class", "abcd")])
def test_after_a_rejection_what_is_in_scope_rests(scope: str, rests: str) -> None:
    """The action, its group, its issue or all of its class, for as long as the rule says, to the millisecond."""
    journal = resting(AFTER_REJECT | {"scope": scope})
    first = buy(journal, 0)
    assert first.body["action_id"] == "b"
    tell(journal, "message.sent", first, 1)
    tell(journal, "offer.rejected", first, 2)
    before, after = probe(journal, 31.99), probe(journal, 32)
    assert "".join(sorted(c["action_id"] for c in before.body["candidates"] if c["reason"] == "COOL_OFF")) == rests
    assert reason(after) != "COOL_OFF"


def test_a_late_acceptance_takes_the_rejection_back() -> None:
    """Of acceptance and rejection the newest by its own time counts, however late it is heard of."""
    journal = resting(AFTER_REJECT)
    first = buy(journal, 0)
    tell(journal, "offer.rejected", first, 2)
    tell(journal, "offer.accepted", first, 1)
    assert reason(probe(journal, 3)) == "COOL_OFF"
    tell(journal, "offer.accepted", first, 4)
    assert reason(probe(journal, 5)) != "COOL_OFF"
    assert journal.customer().made[first.body["decision_id"]].outcome == "ACCEPT"


def test_silence_begins_at_delivery_and_counts_when_it_is_long_enough() -> None:
    """Not before the time for a response is over, and not from the dispatch."""
    journal = resting(AFTER_SILENCE)
    first = buy(journal, 0)
    tell(journal, "message.sent", first, 1)
    assert reason(probe(journal, 20)) != "COOL_OFF"
    tell(journal, "message.delivered", first, 3)
    assert reason(probe(journal, 20)) == "COOL_OFF"
    assert reason(probe(journal, 29.99)) == "COOL_OFF"
    assert reason(probe(journal, 30)) != "COOL_OFF"


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("message.opened", {}, True),
        ("message.clicked", {"machine": "true"}, True),
        ("message.clicked", {}, False),
        ("offer.accepted", {}, False),
    ],
)
def test_only_a_person_who_does_something_has_answered(
    kind: str, attributes: dict[str, str], *, expected: bool
) -> None:
    """An opening alone is no engagement, and what a machine clicked is no response."""
    journal = resting(AFTER_SILENCE)
    first = buy(journal, 0)
    tell(journal, "message.delivered", first, 1)
    tell(journal, kind, first, 2, attributes=attributes)
    assert (reason(probe(journal, 9)) == "COOL_OFF") is expected


def test_days_under_suppression_do_not_count_towards_silence() -> None:
    """Who is in a dispute owes no answer: the days of it are left out, during it and after it."""
    journal = resting(AFTER_SILENCE)
    first = buy(journal, 0)
    tell(journal, "message.delivered", first, 1)
    journal.interact("bill.disputed", reference="d", occurred_at=START + 2 * DAY)
    journal.interact("dispute.resolved", reference="d", occurred_at=START + 12 * DAY)
    assert reason(probe(journal, 17.9)) != "COOL_OFF"
    assert reason(probe(journal, 18)) == "COOL_OFF"


def test_a_channel_may_say_that_there_was_no_response() -> None:
    """`message.ignored` counts from when it is said."""
    journal = resting(AFTER_SILENCE)
    first = buy(journal, 0)
    tell(journal, "message.ignored", first, 2)
    assert reason(probe(journal, 3)) == "COOL_OFF"
    assert reason(probe(journal, 22)) != "COOL_OFF"


def test_what_happened_last_can_be_asked_for() -> None:
    """Conditions see the newest contact, its outcome, and how many went unanswered."""
    condition = "customer.last_action == 'a' && customer.last_outcome == 'CLICK' && customer.unanswered == 0"
    unanswered = "customer.last_action == 'a' && customer.last_outcome == 'PENDING' && customer.unanswered == 1"
    journal = Journal(pack({"id": "a"}, {"id": "x", "eligibility": condition}, {"id": "y", "eligibility": unanswered}))
    journal.interact("consent.given", attributes={"purpose": "marketing"})
    first = buy(journal, 0)
    tell(journal, "message.sent", first, 1)
    assert reason(probe(journal, 2), "y") != "NOT_ELIGIBLE"
    tell(journal, "message.clicked", first, 3)
    output = probe(journal, 4)
    assert reason(output, "y") == "NOT_ELIGIBLE" != reason(output, "x")
