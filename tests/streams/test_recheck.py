"""What waits is looked at again, and recalled if it may no longer go out."""

from typing import Any

from tests.streams.journal import DAY, START, Journal, Output, pack


def willing(*actions: dict[str, Any]) -> Journal:
    journal = Journal(pack(*actions))
    journal.interact("consent.given", attributes={"purpose": "marketing"})
    return journal


def buy(journal: Journal, day: float, amount: int = 100) -> list[Output]:
    return journal.interact("purchase.made", occurred_at=START + int(day * DAY), amount_minor=amount)


def said(outputs: list[Output]) -> list[tuple[str, str | None, str]]:
    return [(output.body["kind"], output.body["action_id"], output.body["reason"]) for output in outputs]


def test_who_is_no_longer_eligible_does_not_get_what_waits() -> None:
    """The recall comes before the new decision, and frees the slot for it."""
    journal = willing({"id": "first", "eligibility": "customer.purchases == 1"}, {"id": "later", "propensity": 0.1})
    assert said(buy(journal, 0)) == [("PROPOSED", "first", "SELECTED")]
    assert said(buy(journal, 1)) == [("RECALLED", "first", "NOT_ELIGIBLE"), ("PROPOSED", "later", "SELECTED")]


def test_what_was_eligible_for_the_event_that_asked_is_not_judged_by_another() -> None:
    """A condition on the trigger says nothing about a later event."""
    journal = willing({"id": "big", "eligibility": "event.amount_minor >= 1000"})
    buy(journal, 0, 5_000)
    assert said(buy(journal, 1, 1)) == [("NO_ACTION", None, "NOT_ELIGIBLE")]


def test_an_action_that_the_policy_no_longer_has_keeps_its_terms() -> None:
    """Neither a new version nor a rollback takes back what was proposed."""
    journal = willing({"id": "old"})
    buy(journal, 0)
    journal.activate("POLICY", pack({"id": "new"}), sequence=1)
    assert said(buy(journal, 1)) == [("PROPOSED", "new", "SELECTED")]
    assert len(journal.customer().queue) == 2


def test_a_fallback_wins_only_where_nothing_else_may_be_proposed() -> None:
    """Whatever its priority and class; elsewhere its reason is that it was not needed."""
    tip = {"id": "tip", "fallback": True, "class": "service", "value_minor": 10_000}
    journal = willing(tip, {"id": "offer", "eligibility": "customer.purchases == 2"})
    assert said(buy(journal, 0)) == [("PROPOSED", "tip", "SELECTED")]
    journal.interact("message.sent", decision_id=journal.outputs[-1].body["decision_id"], occurred_at=START)
    (output,) = buy(journal, 1)
    assert {c["action_id"]: c["reason"] for c in output.body["candidates"]} == {
        "tip": "NOT_NEEDED",
        "offer": "SELECTED",
    }
