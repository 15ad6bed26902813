"""Suppression as a contract: one open dispute holds all marketing until the last one is closed."""

from typing import Final

from schemas.vocabulary import ActionClass, ReasonCode
from streams import cases, consent, queue
from streams.customer import EVIDENCE, HELD, Customer, Hold
from streams.emit import Outbox
from streams.meaning import Event

SCOPE: Final = ActionClass.MARKETING.value
"""The class of actions that an open dispute holds."""


def settle(customer: Customer, event: Event, outbox: Outbox) -> bool:
    """Start or lift the suppression if the open disputes ask for it; returns whether it was lifted.

    A start recalls every waiting action in its scope.
    """
    is_open = bool(cases.open_disputes(customer))
    hold = customer.hold
    if hold is None:
        if is_open:
            customer.hold = Hold(outbox.next_id(), outbox.now_ms, (event["event_id"],))
            outbox.suppression(customer.hold, SCOPE, lifted=False)
            _recall_scope(customer, outbox)
        return False
    evidence = (*hold.evidence, event["event_id"])[:EVIDENCE]
    hold = Hold(hold.suppression_id, hold.started_ms, evidence)
    if is_open:
        customer.hold = hold
        return False
    customer.hold = None
    customer.held = [*customer.held, hold.started_ms, outbox.now_ms][-2 * HELD :]
    outbox.suppression(hold, SCOPE, lifted=True)
    return True


def recall_without_consent(customer: Customer, outbox: Outbox) -> None:
    """Recall every waiting action that consent no longer allows."""
    for decision_id, queued in list(customer.queue.items()):
        if not consent.allowed(customer, queued.action_class, queued.channel):
            queue.release(customer, decision_id)
            outbox.recall(decision_id, queued, ReasonCode.CONSENT_WITHDRAWN)


def _recall_scope(customer: Customer, outbox: Outbox) -> None:
    for decision_id, queued in list(customer.queue.items()):
        if queued.action_class == SCOPE:
            queue.release(customer, decision_id)
            outbox.recall(decision_id, queued, ReasonCode.SUPPRESSED)
