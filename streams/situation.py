"""What a decision is taken on: the customer, the trigger, the time, the risk; and the variables of conditions."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.policy_variables import NEVER_DAYS
from schemas.vocabulary import ActionClass, Channel
from streams import cases, made
from streams.clock import DAY_MS
from streams.customer import Customer
from streams.meaning import Event
from streams.risk import Scorer

HOUR_MS: Final = 3_600_000.0
_MARKETING: Final = ActionClass.MARKETING.value


class Situation:
    """One decision's input. The risk is scored when it is first asked for."""

    __slots__ = ("_churn_risk", "_scored", "_scorer", "_value_minor", "customer", "event", "now_ms")

    def __init__(self, customer: Customer, event: Event, now_ms: int, scorer: Scorer | None) -> None:
        self.customer = customer
        self.event = event
        self.now_ms = now_ms
        self._scorer = scorer
        self._scored = scorer is None
        self._churn_risk: float | None = None
        self._value_minor = 0

    @property
    def churn_risk(self) -> float | None:
        """Probability of no purchase in the horizon; None without a model or without a purchase so far."""
        if not self._scored:
            self._score()
        return self._churn_risk

    @property
    def value_minor(self) -> int:
        """Expected spend, minor units; 0 where there is no risk."""
        if not self._scored:
            self._score()
        return self._value_minor

    @property
    def value_at_risk_minor(self) -> int | None:
        """Churn risk x expected spend, minor units; None where there is no risk."""
        risk = self.churn_risk
        return None if risk is None else round(risk * self._value_minor)

    def _score(self) -> None:
        assert self._scorer is not None
        self._scored = True
        self._churn_risk = self._scorer.churn_risk(self.customer, self.now_ms)
        if self._churn_risk is not None:
            self._value_minor = self._scorer.value_minor(self.customer, self.now_ms)

    def days_since(self, at_ms: int) -> float:
        """Return days since a time of the customer; NEVER_DAYS if that is 0."""
        return max(0, self.now_ms - at_ms) / DAY_MS if at_ms else NEVER_DAYS


def _days_between_purchases(s: Situation) -> float:
    before = s.customer.previous_purchase_ms
    return (s.customer.last_purchase_ms - before) / DAY_MS if before else NEVER_DAYS


def _days_since_marketing(s: Situation) -> float:
    newest = 0
    for proposal in s.customer.proposals.values():
        if proposal.action_class == _MARKETING and proposal.at_ms > newest:
            newest = proposal.at_ms
    return s.days_since(newest)


def _newest_made(s: Situation) -> int:
    newest = made.newest(s.customer)
    return newest.at_ms if newest is not None else 0


def _last_action(s: Situation) -> str:
    newest = made.newest(s.customer)
    return newest.action_id if newest is not None else ""


def _last_outcome(s: Situation) -> str:
    newest = made.newest(s.customer)
    return newest.outcome if newest is not None else ""


def _unanswered(s: Situation) -> int:
    answer = max(s.customer.last_accept_ms, s.customer.last_reject_ms)
    for contact in s.customer.made.values():
        if contact.outcome == made.CLICK:
            answer = max(answer, contact.outcome_ms)
    return sum(contact.confirmed and contact.at_ms > answer for contact in s.customer.made.values())


def _contacts_on(channel: str) -> Callable[[Situation], int]:
    return lambda s: s.customer.contacts.get(channel, 0)


VALUES: Final[Mapping[str, Callable[[Situation], Any]]] = {
    "customer.purchases": lambda s: s.customer.purchases,
    "customer.spend_minor": lambda s: s.customer.spend_minor,
    "customer.mean_purchase_minor": lambda s: s.customer.spend_minor // max(1, s.customer.purchases),
    "customer.days_since_purchase": lambda s: s.days_since(s.customer.last_purchase_ms),
    "customer.days_between_purchases": _days_between_purchases,
    "customer.days_since_first_purchase": lambda s: s.days_since(s.customer.first_purchase_ms),
    "customer.days_known": lambda s: s.days_since(s.customer.first_seen_ms),
    "customer.churn_risk": lambda s: s.churn_risk or 0.0,
    "customer.value_minor": lambda s: s.value_minor,
    "customer.value_at_risk_minor": lambda s: s.value_at_risk_minor or 0,
    "customer.open_disputes": lambda s: len(cases.open_disputes(s.customer)),
    "customer.open_cases": lambda s: cases.open_cases(s.customer),
    "customer.complaints": lambda s: s.customer.complaints,
    "customer.days_since_complaint": lambda s: s.days_since(s.customer.last_complaint_ms),
    "customer.contacts": lambda s: s.customer.events,
    **{f"customer.contacts_{channel.value.lower()}": _contacts_on(channel.value) for channel in Channel},
    "customer.queued": lambda s: len(s.customer.queue),
    "customer.days_since_marketing": _days_since_marketing,
    "customer.days_since_contact": lambda s: s.days_since(_newest_made(s)),
    "customer.days_since_accept": lambda s: s.days_since(s.customer.last_accept_ms),
    "customer.days_since_reject": lambda s: s.days_since(s.customer.last_reject_ms),
    "customer.unanswered": _unanswered,
    "customer.last_action": _last_action,
    "customer.last_outcome": _last_outcome,
    "customer.zone": lambda s: s.customer.zone,
    "customer.messages_sent": lambda s: s.customer.messages_sent,
    "customer.offers_presented": lambda s: s.customer.offers_presented,
    "customer.offers_accepted": lambda s: s.customer.offers_accepted,
    "customer.offers_rejected": lambda s: s.customer.offers_rejected,
    "event.type": lambda s: s.event["type"],
    "event.channel": lambda s: s.event["channel"],
    "event.source": lambda s: s.event["source"],
    "event.touchpoint": lambda s: s.event["touchpoint"],
    "event.reference": lambda s: s.event["reference"] or "",
    "event.amount_minor": lambda s: s.event["amount_minor"] or 0,
    "event.age_hours": lambda s: max(0, s.now_ms - s.event["occurred_at"]) / HOUR_MS,
    "event.attributes": lambda s: s.event["attributes"],
}
"""How each declared variable is computed; the same names as schemas/policy_variables.py (a test compares them)."""
