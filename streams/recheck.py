"""What waits is looked at again whenever something may have changed: it is recalled if it may no longer go out.

Consent and suppressions recall by themselves (streams/suppression.py), validity by its end. Here: eligibility where it
is about the customer and not about the event that asked, and quiet hours, which begin earlier once a customer turns
out to live in another zone. An action that the active policy no longer has keeps its terms.
"""

from schemas.vocabulary import ReasonCode
from streams import queue
from streams.customer import Customer, Queued
from streams.emit import Outbox
from streams.plan import UNDECIDED, Candidate, Plan


def waiting(plan: Plan, customer: Customer, outbox: Outbox) -> None:
    """Recall every waiting action that fails; the plan has begun with this customer."""
    for decision_id, queued in list(customer.queue.items()):
        candidate = plan.by_id.get(queued.action_id)
        reason = None if candidate is None else _fails(plan, candidate, queued)
        if reason is not None:
            queue.release(customer, decision_id)
            outbox.recall(decision_id, queued, reason)


def _fails(plan: Plan, candidate: Candidate, queued: Queued) -> ReasonCode | None:
    if candidate.lasting is not None:
        try:
            if not plan.conditions.holds(candidate.lasting):
                return ReasonCode.NOT_ELIGIBLE
        except UNDECIDED:
            return ReasonCode.CONDITION_ERROR
    closed = any(
        route.channel == queued.channel and plan.reach.is_closed(route, queued.valid_until_ms)
        for route in candidate.routes
        if route.quiet
    )
    return ReasonCode.QUIET_HOURS if closed else None
