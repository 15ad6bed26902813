"""Judging all candidates of a trigger at once gives what judging one condition after the other gives."""

import random
from typing import Any

from schemas.policy_reader import read_policy
from schemas.vocabulary import EventType, ReasonCode
from streams.plain import ASK
from streams.plan import UNDECIDED, Candidate, Plan
from streams.risk import Scorer
from streams.situation import Situation
from tests.streams.journal import DAY, ROOT, START, Journal, interaction

RETAIL = (ROOT / "schemas/packs/retail.yaml").read_bytes()


def one_by_one(plan: Plan, candidate: Candidate) -> str | None:
    """Return the reason by the conditions of the pack, each for itself and by CEL alone."""
    situation = plan.conditions._situation
    assert situation is not None
    for reason, index in candidate.stages:
        if plan.conditions._needs_risk[index] and situation.churn_risk is None:
            return ReasonCode.CONDITION_ERROR.value
        try:
            if not plan.conditions._by_cel.holds(index, situation, plan.conditions._turn):
                return reason
        except UNDECIDED:
            return ReasonCode.CONDITION_ERROR.value
    return None


def situations(count: int) -> list[Situation]:
    """Return what a seeded story of many customers leads to, with and without a risk score."""
    chance = random.Random(5)
    journal = Journal(RETAIL)
    scorer = journal.core._documents.scorer(journal.state().model)
    assert isinstance(scorer, Scorer)
    found = []
    for number in range(count):
        name = f"{chance.randrange(25):032x}"
        kind = chance.choice(["purchase.made", "visit.made", "complaint.made", "order.placed", "fulfilment.failed"])
        at = START + number * DAY // 4
        fields: dict[str, Any] = {"occurred_at": at, "amount_minor": chance.randrange(30_000), "customer": name}
        journal.interact(kind, **fields)
        event = interaction(kind, event_id="x", occurred_at=at, amount_minor=fields["amount_minor"])
        found.append(Situation(journal.customer(name), event, at, chance.choice([scorer, None])))
    return found


def test_all_at_once_is_one_after_the_other() -> None:
    """For every trigger and candidate of the shipped pack, over a thousand situations."""
    plan = Plan(read_policy(RETAIL))
    seen: set[str | None] = set()
    for situation in situations(1_000):
        plan.begin(situation)
        for trigger in EventType:
            answers = plan.answers[trigger.value]
            for candidate, reason in zip(answers.candidates, answers.stages(situation), strict=True):
                if reason != ASK:
                    assert reason == one_by_one(plan, candidate), candidate.id
                    seen.add(reason)
    assert seen == {None, "NOT_ELIGIBLE", "NOT_APPLICABLE", "NOT_SUITABLE", "CONDITION_ERROR"}


def test_what_is_not_plain_is_asked_for() -> None:
    """A condition with a function goes to CEL; the shipped pack has one, and the rest is plain."""
    plan = Plan(read_policy(RETAIL))
    (situation,) = situations(1)
    asked = {
        candidate.id
        for answers in plan.answers.values()
        for candidate, reason in zip(answers.candidates, answers.stages(situation), strict=True)
        if reason == ASK
    }
    assert asked == {"low-score-call"}
