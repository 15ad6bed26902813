"""Which action wins, and why the others do not."""

import random
from typing import Any

import pytest

from schemas.policy_reader import read_policy
from schemas.policy_variables import VARIABLES
from schemas.primitives import written
from schemas.vocabulary import ReasonCode
from streams import plan as plans
from streams import queue
from streams.customer import QUEUED, Customer, Proposal, Queued
from streams.plan import Plan
from streams.situation import VALUES
from tests.streams.journal import ANN, DAY, MODEL, START, Journal, Output, kinds, pack, sha256

YES = {"purpose": "marketing"}


def buy(journal: Journal, day: float = 1, **fields: Any) -> list[Output]:
    """Let Ann buy something for 20.00."""
    fields = {"occurred_at": START + int(day * DAY), "amount_minor": 2000, "channel": "OUTLET"} | fields
    return journal.interact("purchase.made", **fields)


def willing(policy: bytes, model: bytes | None = MODEL) -> Journal:
    """Return a journal whose Ann agreed to marketing."""
    journal = Journal(policy, model)
    journal.interact("consent.given", attributes=YES)
    return journal


def reasons(output: Output) -> dict[str, str]:
    """Return the reason of each candidate."""
    return {candidate["action_id"]: candidate["reason"] for candidate in output.body["candidates"]}


def test_the_winner_has_the_highest_priority_and_every_candidate_a_reason() -> None:
    """Priority is the product of the four factors; the output names them, the trigger, the documents."""
    policy = pack(
        {"id": "low", "propensity": 0.1},
        {"id": "high", "propensity": 0.5, "lever": 2.0, "context_weights": {"purchase.made": 3.0}},
        {"id": "not-me", "eligibility": "customer.purchases > 5"},
    )
    (output,) = buy(willing(policy), event_id="b1")
    body = output.body
    assert (body["kind"], body["action_id"], body["reason"]) == ("PROPOSED", "high", "SELECTED")
    assert body["factors"] == {"propensity": 0.5, "context_weight": 3.0, "value": 100.0, "lever": 2.0}
    assert body["priority"] == 0.5 * 3.0 * 100 * 2.0
    assert reasons(output) == {"high": "SELECTED", "low": "OUTRANKED", "not-me": "NOT_ELIGIBLE"}
    assert body["trigger"] == {"event_id": "b1", "type": "purchase.made", "occurred_at": START + DAY}
    assert body["policy"]["sha256"] == sha256(policy)
    assert body["model"]["sha256"] == sha256(MODEL)
    assert body["valid_until"] == body["decided_at"] + 7 * DAY
    assert body["decision_id"] == "crm.journal.v1-0-3-0"
    headers = dict(output.raw[3])
    assert headers["ce_id"] == b"crm.journal.v1-0-3-0"
    assert headers["ce_type"] == b"attune.action.proposed"
    assert headers["ce_subject"] == output.raw[1] == ANN.encode()


def test_ties_break_by_action_id() -> None:
    """Of equals the first id wins, whatever the order in the pack."""
    for order in (["b", "a", "c"], ["c", "b", "a"]):
        (output,) = buy(willing(pack(*({"id": id_} for id_ in order))))
        assert output.body["action_id"] == "a"


def test_a_stronger_class_goes_before_any_priority() -> None:
    """Service beats marketing, transactional beats service."""
    policy = pack(
        {"id": "sale", "value_minor": 10_000},
        {"id": "tip", "class": "service"},
        {"id": "receipt", "class": "transactional", "propensity": 0.01},
    )
    (output,) = buy(willing(policy))
    assert output.body["action_id"] == "receipt"


def test_mandatory_actions_are_proposed_beside_the_winner() -> None:
    """They take no part in arbitration; a guard of their own keeps them from repeating."""
    policy = pack({"id": "sale"}, {"id": "law", "class": "mandatory", "repeat_after": "30d", "value_minor": 0})
    journal = willing(policy)
    first = buy(journal)
    assert [output.body["action_id"] for output in first] == ["law", "sale"]
    journal.interact("message.sent", decision_id=first[0].body["decision_id"])
    again = buy(journal, 2)
    assert reasons(again[0]) == {"law": "CONTACTED_RECENTLY", "sale": "ALREADY_QUEUED"}


def test_at_most_one_marketing_action_per_decision() -> None:
    """Ten willing offers, one contact."""
    outputs = buy(willing(pack(*({"id": f"offer-{number}"} for number in range(10)))))
    assert kinds(outputs) == ["PROPOSED"]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({"eligibility": "customer.purchases > 9"}, "NOT_ELIGIBLE"),
        ({"applicability": "event.channel == 'SOCIAL'"}, "NOT_APPLICABLE"),
        ({"suitability": "customer.open_cases > 0"}, "NOT_SUITABLE"),
        ({"eligibility": "event.attributes['size'] == 'XL'"}, "CONDITION_ERROR"),
        ({"eligibility": "100 / (customer.purchases - 1) > 3"}, "CONDITION_ERROR"),
        ({"treatments": [{"id": "t", "channel": "SOCIAL"}]}, "NO_CONSENT"),
        ({"value_minor": 0}, "NO_VALUE"),
    ],
)
def test_no_action_names_the_reason_of_the_best_candidate_removed(action: dict[str, Any], reason: str) -> None:
    """The candidate with the highest priority says why there is nothing."""
    journal = Journal(pack({"id": "best", **action}, {"id": "worse", "value_minor": 0}))
    journal.interact("consent.given", attributes=YES | {"channel": "DIRECT_MARKETING"})
    (output,) = buy(journal)
    assert (output.body["kind"], output.body["action_id"]) == ("NO_ACTION", None)
    assert output.body["reason"] == reason
    assert reasons(output)["best"] == reason


def test_marketing_needs_consent_and_service_does_not() -> None:
    """Absent consent means no to marketing; the first treatment on an allowed channel is taken."""
    two = [{"id": "mail", "channel": "DIRECT_MARKETING"}, {"id": "app", "channel": "M_COMMERCE"}]
    policy = pack(
        {"id": "sale", "treatments": two},
        {"id": "tip", "class": "service", "triggers": ["call.made"]},
        triggers=["purchase.made", "call.made"],
    )
    journal = Journal(policy)
    assert buy(journal)[0].body["reason"] == "NO_CONSENT"
    journal.interact("consent.given", attributes=YES | {"channel": "M_COMMERCE"})
    (output,) = buy(journal, 2)
    assert (output.body["treatment_id"], output.body["channel"]) == ("app", "M_COMMERCE")
    (output,) = journal.interact("call.made", occurred_at=START + 3 * DAY)
    assert output.body["action_id"] == "tip"


def test_withdrawn_consent_recalls_what_waits() -> None:
    """A queued action that consent no longer allows is recalled at once, others stay."""
    journal = willing(
        pack(
            {"id": "sale"},
            {"id": "tip", "class": "service", "triggers": ["call.made"]},
            triggers=["purchase.made", "call.made"],
        )
    )
    (sale,) = buy(journal)
    journal.interact("call.made", occurred_at=START + DAY)
    outputs = journal.interact("consent.withdrawn", occurred_at=START + 2 * DAY, attributes=YES)
    assert kinds(outputs) == ["RECALLED"]
    assert outputs[0].body["recalls"] == sale.body["decision_id"]
    assert outputs[0].body["reason"] == "CONSENT_WITHDRAWN"
    assert len(journal.customer().queue) == 1


def test_an_old_trigger_yields_no_contact() -> None:
    """After an outage a trigger older than the action allows is too old, by the partition's clock."""
    journal = willing(pack({"id": "sale", "max_trigger_age": "1d"}))
    journal.tick(START + 5 * DAY)
    assert buy(journal, 3)[0].body["reason"] == "TRIGGER_TOO_OLD"
    assert buy(journal, 4.5)[0].body["kind"] == "PROPOSED"


def test_a_trigger_of_exactly_the_greatest_age_is_not_too_old() -> None:
    """The age that an action allows is allowed; a millisecond more is not."""
    journal = willing(pack({"id": "sale", "max_trigger_age": "1d"}))
    journal.tick(START + 5 * DAY)
    assert buy(journal, occurred_at=START + 4 * DAY - 1)[0].body["reason"] == "TRIGGER_TOO_OLD"
    assert buy(journal, occurred_at=START + 4 * DAY)[0].body["kind"] == "PROPOSED"


def test_an_event_that_is_no_trigger_decides_nothing() -> None:
    """A decision is taken on declared triggers only."""
    journal = willing(pack({"id": "sale"}))
    assert journal.interact("page.browsed") == []


def test_an_action_waits_once_and_rests_after_dispatch() -> None:
    """Queued once, not again; after dispatch the repeat guard holds; after it, it may come back."""
    journal = willing(pack({"id": "sale", "repeat_after": "10d", "validity": "3d"}))
    (sale,) = buy(journal, 1)
    assert buy(journal, 2)[0].body["reason"] == "ALREADY_QUEUED"
    journal.interact("message.sent", decision_id=sale.body["decision_id"], occurred_at=START + 2 * DAY)
    assert journal.customer().queue == {}
    assert buy(journal, 3)[0].body["reason"] == "CONTACTED_RECENTLY"
    assert buy(journal, 11)[0].body["kind"] == "PROPOSED"


def test_an_action_past_its_validity_leaves_the_queue() -> None:
    """It is not recalled, since no channel may deliver it any more, and it may be proposed again."""
    journal = willing(pack({"id": "sale", "validity": "3d"}))
    buy(journal, 1)
    (output,) = buy(journal, 5)
    assert output.body["kind"] == "PROPOSED"
    assert list(journal.customer().queue) == [output.body["decision_id"]]


def test_an_action_waits_until_the_last_moment_of_its_validity() -> None:
    """At the very end of its validity an action still waits, a millisecond later it does not."""
    journal = willing(pack({"id": "sale", "validity": "3d"}))
    (sale,) = buy(journal, 1)
    end = sale.body["valid_until"]
    assert buy(journal, occurred_at=end)[0].body["reason"] == "ALREADY_QUEUED"
    assert buy(journal, occurred_at=end + 1)[0].body["kind"] == "PROPOSED"


@pytest.mark.parametrize(
    "before", [[], ["message.sent"], ["message.sent", "message.delivered"], ["call.made"]], ids=" ".join
)
def test_an_action_that_bounced_counts_as_never_proposed(before: list[str]) -> None:
    """The repeat guard forgets what reached nobody, whether it waits, was reported sent or has expired since.

    A second report of the bounce changes nothing.
    """
    policy = pack({"id": "sale", "repeat_after": "100d", "validity": "3d"}, triggers=["purchase.made", "call.made"])
    journal = willing(policy)
    (sale,) = buy(journal, 1)
    quoted = {"decision_id": sale.body["decision_id"]}
    for type_ in before:
        journal.interact(type_, occurred_at=START + 5 * DAY, **quoted)
    for _ in range(2):
        journal.interact("message.bounced", occurred_at=START + 5 * DAY, **quoted)
        assert (journal.customer().queue, journal.customer().proposals) == ({}, {})
    assert buy(journal, 6)[0].body["kind"] == "PROPOSED"
    journal.interact("message.bounced", occurred_at=START + 7 * DAY, **quoted)
    assert buy(journal, 8)[0].body["reason"] == "ALREADY_QUEUED"


def test_what_bounced_goes_back_to_the_proposal_before() -> None:
    """Only the decision that bounced is taken back; a bounce of nothing that was decided changes nothing."""
    journal = willing(pack({"id": "sale", "repeat_after": "10d"}))
    for day in (1, 20):
        (sale,) = buy(journal, day)
        quoted = {"decision_id": sale.body["decision_id"]}
        journal.interact("message.sent", occurred_at=START + day * DAY, **quoted)
    for _ in range(2):
        journal.interact("message.bounced", occurred_at=START + 21 * DAY, **quoted)
        assert journal.customer().proposals == {"sale": Proposal(START + DAY, "MARKETING")}
    for nothing in (None, "", "j-0-0-0"):
        journal.interact("message.bounced", occurred_at=START + 21 * DAY, decision_id=nothing)
    assert journal.customer().proposals == {"sale": Proposal(START + DAY, "MARKETING")}


def test_a_release_leaves_the_proposal_of_another_decision() -> None:
    """What is released is the decision, not the action: one that was proposed since stays proposed."""
    waiting = Queued("sale", "growth", "test", "sale-mail", "OTHER", "MARKETING", START, START + DAY)
    later = Proposal(START + 1, "MARKETING", "j-0-2-0", START)
    customer = Customer(queue={"j-0-1-0": waiting}, proposals={"sale": later})
    assert queue.release(customer, "j-0-1-0") == waiting
    assert (customer.queue, customer.proposals) == ({}, {"sale": later})


def test_a_variable_that_could_not_be_computed_is_not_another_customers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two conditions on a variable that raises are both undecided, whatever the customer before had there."""

    def spend(situation: Any) -> int:
        if situation.customer.purchases == 2:
            raise OverflowError("too much")
        return 100_000

    monkeypatch.setitem(VALUES, "customer.spend_minor", spend)  # type: ignore[arg-type]
    policy = pack(
        {"id": "rich", "eligibility": "customer.spend_minor > 1000"},
        {"id": "very-rich", "eligibility": "customer.spend_minor > 5000"},
    )
    journal = willing(policy)
    assert buy(journal, 1)[0].body["kind"] == "PROPOSED"
    recall, output = buy(journal, 2)
    assert (recall.body["kind"], recall.body["reason"]) == ("RECALLED", "CONDITION_ERROR")
    assert reasons(output) == {"rich": "CONDITION_ERROR", "very-rich": "CONDITION_ERROR"}


def test_the_queue_is_bounded() -> None:
    """With so many actions waiting no more are proposed, mandatory ones neither, until some have left."""
    laws = [{"id": f"law-{number}", "class": "mandatory", "repeat_after": "1d"} for number in range(QUEUED + 9)]
    journal = willing(pack(*laws, {"id": "a-sale"}))
    outputs = buy(journal)
    assert kinds(outputs) == ["PROPOSED"] * (QUEUED + 1)
    assert outputs[-1].body["action_id"] == "a-sale"
    assert list(reasons(outputs[0]).values()).count("ALREADY_QUEUED") == 9
    assert buy(journal, 2)[0].body["reason"] == "ALREADY_QUEUED"
    for output in outputs[:4]:
        journal.interact("message.sent", decision_id=output.body["decision_id"], occurred_at=START + 2 * DAY)
    assert kinds(buy(journal, 4)) == ["PROPOSED"] * 3


def test_an_action_withheld_by_its_channel_counts_as_never_proposed() -> None:
    """The repeat guard forgets what did not go out."""
    journal = willing(pack({"id": "sale", "repeat_after": "100d"}))
    (sale,) = buy(journal, 1)
    journal.interact("message.withheld", decision_id=sale.body["decision_id"], occurred_at=START + DAY)
    assert buy(journal, 2)[0].body["kind"] == "PROPOSED"


@pytest.mark.parametrize(
    "type_", ["message.delivered", "message.clicked", "message.ignored", "offer.presented", "offer.rejected"]
)
def test_any_sign_of_dispatch_takes_an_action_out_of_the_queue(type_: str) -> None:
    """A response may arrive before the dispatch is reported."""
    journal = willing(pack({"id": "sale"}))
    (sale,) = buy(journal)
    journal.interact(type_, decision_id=sale.body["decision_id"], occurred_at=START + DAY)
    assert journal.customer().queue == {}


def test_risk_conditions_wait_for_a_risk() -> None:
    """Without a model a condition on risk cannot be decided, not even one that asks for low risk."""
    policy = pack({"id": "calm", "eligibility": "customer.churn_risk < 0.9"})
    (output,) = buy(willing(policy, model=None))
    assert (output.body["reason"], output.body["churn_risk"]) == ("CONDITION_ERROR", None)
    (output,) = buy(willing(policy))
    assert output.body["kind"] == "PROPOSED"
    assert 0 < output.body["churn_risk"] < 1


def test_value_at_risk_ranks_save_actions() -> None:
    """An action worth the value at risk takes it as its value."""
    policy = pack({"id": "save", "value_minor": "value_at_risk"}, {"id": "sale", "value_minor": 1})
    (output,) = buy(willing(policy))
    body = output.body
    assert body["action_id"] == "save"
    assert body["factors"]["value"] == body["value_at_risk_minor"] > 0


def test_every_declared_variable_is_computed() -> None:
    """The table of variables and the functions that compute them name the same ones, and types agree."""
    assert list(VALUES) == list(VARIABLES)
    journal = willing(pack({"id": "sale"}))
    buy(journal)
    from schemas.model import read_model
    from streams.risk import Scorer
    from streams.situation import Situation
    from tests.streams.journal import interaction

    for scorer in (None, Scorer(read_model(MODEL))):
        situation = Situation(journal.customer(), interaction(), START + 9 * DAY, scorer)
        for name, compute in VALUES.items():
            assert type(compute(situation)) is type(VARIABLES[name].example), name


def test_what_is_remembered_of_explanations_is_right_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One explanation for each list of reasons, the same as when it is written anew, however many there were."""
    monkeypatch.setattr(plans, "EXPLANATIONS_BYTES", 2_000)
    answers = Plan(read_policy(pack(*({"id": f"a-{number}"} for number in range(4))))).answers["purchase.made"]
    chance = random.Random(7)
    codes = [code.value for code in ReasonCode]
    seen = set()
    for _ in range(2_000):
        reasons: list[str | None] = [chance.choice(codes) for _ in answers.candidates]
        found = answers.explained(reasons)
        assert found == written([one.explained[why] for one, why in zip(answers.candidates, reasons, strict=True)])
        assert answers.explained(reasons) is found
        seen.add(found)
    assert len(seen) > 500
    assert sum(map(len, answers._explanations.values())) <= 2_000
