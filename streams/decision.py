"""A decision: which action, or none, and one reason for every candidate.

Candidates are the actions that answer to the trigger. Each passes the stages of `ReasonCode` in their order; the
first that it fails is its reason. Of those that pass, every mandatory one is proposed, and of the others one: the
strongest class, then the highest priority = propensity x context weight x value x lever, then the first action id.
Fallbacks are looked at last: one wins only where nothing else may be proposed.
"""

from typing import Any, Final, NamedTuple

from schemas.vocabulary import ActionClass, ReasonCode
from streams.customer import PROPOSALS, QUEUED, Customer, Proposal, Queued
from streams.emit import NO_ACTION, PROPOSED, Outbox
from streams.plain import ASK
from streams.plan import NOTHING, UNDECIDED, Answers, Candidate, Plan
from streams.reach import NO_CONSENT, Route
from streams.situation import Situation
from streams.suppression import SCOPE

MANDATORY: Final = ActionClass.MANDATORY.value

# Plain texts: looking up `.value` takes as long as a condition.
SELECTED: Final = ReasonCode.SELECTED.value
OUTRANKED: Final = ReasonCode.OUTRANKED.value
TRIGGER_TOO_OLD: Final = ReasonCode.TRIGGER_TOO_OLD.value
CONDITION_ERROR: Final = ReasonCode.CONDITION_ERROR.value
SUPPRESSED: Final = ReasonCode.SUPPRESSED.value
ALREADY_QUEUED: Final = ReasonCode.ALREADY_QUEUED.value
CONTACTED_RECENTLY: Final = ReasonCode.CONTACTED_RECENTLY.value
COOL_OFF: Final = ReasonCode.COOL_OFF.value
NO_VALUE: Final = ReasonCode.NO_VALUE.value
NOT_NEEDED: Final = ReasonCode.NOT_NEEDED.value
NO_CANDIDATES: Final = ReasonCode.NO_CANDIDATES.value

Documents = dict[str, dict[str, str] | None]
"""References of the policy and the model that decide, as the schema's fields `policy` and `model`."""


class Choice(NamedTuple):
    """A candidate that passed, how it is presented, its priority, and the context weight in it."""

    candidate: Candidate
    route: Route
    priority: float
    weight: float

    @property
    def order(self) -> tuple[bool, int, float]:
        """What the winner has most of: no fallback, then the strongest class, then the priority."""
        return not self.candidate.fallback, -self.candidate.rank, self.priority


def decide(plan: Plan, situation: Situation, documents: Documents, outbox: Outbox) -> None:
    """Take one decision and emit it: mandatory actions, then one proposal, or no action with its reason.

    The plan has begun with this situation.
    """
    customer = situation.customer
    waiting = {queued.action_id for queued in customer.queue.values()}
    answers = plan.answers.get(situation.event["type"], NOTHING)
    candidates = answers.candidates
    reasons = _engagement(answers, plan, situation)
    chosen: list[Choice] = []
    winner: Choice | None = None
    place = 0
    room = QUEUED - len(customer.queue)
    for number in _passed(reasons):
        candidate = candidates[number]
        priority = _priority(answers, number, situation)
        outcome = _contact(candidate, plan, situation, waiting, priority)
        if len(chosen) >= room and not isinstance(outcome, str):
            outcome = ALREADY_QUEUED
        if isinstance(outcome, str):
            reasons[number] = outcome
            continue
        choice = Choice(candidate, outcome, priority, answers.weights[number])
        if candidate.action_class == MANDATORY:
            chosen.append(choice)
            reasons[number] = SELECTED
            continue
        if winner is None or choice.order > winner.order:
            winner, place = choice, number
        reasons[number] = NOT_NEEDED if candidate.fallback else OUTRANKED
    if winner is not None:
        reasons[place] = SELECTED
        chosen.append(winner)
    shared: dict[str, Any] = {
        "churn_risk": situation.churn_risk,
        "value_at_risk_minor": situation.value_at_risk_minor,
        "candidates": answers.explained(reasons),
        **documents,
    }
    for choice in chosen:
        _propose(choice, plan, situation, shared, outbox)
    if not chosen:
        outbox.decision(NO_ACTION, _reason_of_the_best(answers, reasons, situation), **shared)


def _passed(reasons: list[str | None]) -> list[int]:
    """Return the numbers of the candidates that nothing has removed: few of many."""
    passed: list[int] = []
    for _ in range(reasons.count(None)):
        passed.append(reasons.index(None, passed[-1] + 1 if passed else 0))
    return passed


def _priority(answers: Answers, number: int, situation: Situation) -> float:
    """Return propensity x context weight x value x lever of a candidate."""
    priority = answers.priorities[number]
    if priority is not None:
        return priority
    candidate = answers.candidates[number]
    value = situation.value_at_risk_minor or 0
    return candidate.propensity * answers.weights[number] * value * candidate.lever


def _reason_of_the_best(answers: Answers, reasons: list[str | None], situation: Situation) -> str:
    """Return what removed the candidate with the highest priority, the first of equals."""
    numbers = answers.by_risk if answers.best is None else (answers.best, *answers.by_risk)
    if not numbers:
        return NO_CANDIDATES
    reason = reasons[max(numbers, key=lambda number: (_priority(answers, number, situation), -number))]
    assert reason is not None, "nothing was chosen, so everything was removed"
    return reason


def _engagement(answers: Answers, plan: Plan, situation: Situation) -> list[str | None]:
    """Return the reason of each candidate whose trigger is too old, or that is not eligible, applicable or suitable."""
    age_ms = situation.now_ms - situation.event["occurred_at"]
    candidates = answers.candidates
    try:
        reasons = answers.stages(situation)
    except UNDECIDED:
        reasons = [ASK] * len(candidates)
    if ASK in reasons:
        for number, reason in enumerate(reasons):
            if reason == ASK:
                reasons[number] = _one_by_one(candidates[number], plan)
    if age_ms > answers.shortest_age_ms:
        for number, candidate in enumerate(candidates):
            if age_ms > candidate.max_trigger_age_ms:
                reasons[number] = TRIGGER_TOO_OLD
    return reasons


def _one_by_one(candidate: Candidate, plan: Plan) -> str | None:
    holds = plan.conditions.holds
    try:
        for reason, index in candidate.stages:
            if not holds(index):
                return reason
    except UNDECIDED:
        return CONDITION_ERROR
    return None


def _contact(candidate: Candidate, plan: Plan, situation: Situation, waiting: set[str], priority: float) -> Route | str:
    """Return how the customer may be reached with it, or the reason why not."""
    customer, reach = situation.customer, plan.reach
    action_class = candidate.action_class
    if not reach.has_consent(candidate.audience):
        return NO_CONSENT
    if customer.hold is not None and action_class == SCOPE:
        return SUPPRESSED
    if candidate.id in waiting:
        return ALREADY_QUEUED
    rests = _rests(candidate, plan, situation)
    if rests is not None:
        return rests
    if priority <= 0.0 and action_class != MANDATORY:
        return NO_VALUE
    return reach.choose(action_class, candidate.routes)


def _rests(candidate: Candidate, plan: Plan, situation: Situation) -> str | None:
    """Return the reason if the action was proposed or turned down too recently."""
    last = situation.customer.proposals.get(candidate.id)
    if last is not None and situation.now_ms - last.at_ms < candidate.repeat_after_ms:
        return CONTACTED_RECENTLY
    return COOL_OFF if candidate.scopes and plan.reach.rests(candidate.scopes) else None


def _propose(choice: Choice, plan: Plan, situation: Situation, shared: dict[str, Any], outbox: Outbox) -> None:
    candidate, route = choice.candidate, choice.route
    action, customer, now_ms = candidate.action, situation.customer, situation.now_ms
    last = customer.proposals.get(action.id)
    value = situation.value_at_risk_minor or 0 if candidate.value_minor is None else candidate.value_minor
    valid_until = plan.reach.last_moment(route.quiet, now_ms + action.validity_ms)
    decision_id = outbox.next_id()
    customer.queue[decision_id] = Queued(
        action.id,
        action.issue,
        action.group,
        route.treatment.id,
        route.channel,
        candidate.action_class,
        now_ms,
        valid_until,
    )
    before_ms = last.at_ms if last is not None else 0
    customer.proposals[action.id] = Proposal(now_ms, candidate.action_class, decision_id, before_ms)
    if len(customer.proposals) > PROPOSALS:
        _forget(customer)
    outbox.decision(
        PROPOSED,
        SELECTED,
        action_id=action.id,
        issue=action.issue,
        group=action.group,
        treatment_id=route.treatment.id,
        channel=route.channel,
        action_class=candidate.action_class,
        valid_until=valid_until,
        priority=choice.priority,
        factors={
            "propensity": candidate.propensity,
            "context_weight": choice.weight,
            "value": float(value),
            "lever": candidate.lever,
        },
        content=dict(route.treatment.content),
        placement=route.treatment.placement,
        **shared,
    )


def _forget(customer: Customer) -> None:
    oldest = min(customer.proposals, key=lambda id_: (customer.proposals[id_].at_ms, id_))
    del customer.proposals[oldest]
