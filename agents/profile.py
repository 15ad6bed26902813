"""What is known of one customer, in words that a person or a script reads: made from the state alone."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from schemas import headers as names
from streams import cases, consent, contacts
from streams.customer import Customer, Made
from streams.documents import Documents
from streams.partition import Active, Partition
from streams.risk import Scorer
from streams.situation import Situation
from streams.suppression import SCOPE

CONTACTS_MADE: Final = 16
"""So many of the contacts that the company made are shown, the newest first."""


def profile(surrogate: str, customer: Customer, partition: Partition, documents: Documents) -> dict[str, Any]:
    """Return what `describe` does at the partition's clock, by its active model, and the active policy.

    Where the partition has no clock, the customer's newest event counts. Raises DocumentMissing where the active model
    is not in `documents`.
    """
    now_ms = max(partition.clock_ms, customer.last_seen_ms)
    found = describe(surrogate, customer, now_ms, documents.scorer(partition.model), _document(partition.model))
    return {**found, "policy": _document(partition.policy)}


def describe(
    surrogate: str, customer: Customer, now_ms: int, scorer: Scorer | None, model: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return a customer's state as plain values; times are RFC 3339 in UTC, money is in minor units.

    Risk is that at `now_ms` by `scorer`, which was made of `model`. The same arguments give the same values.
    """
    situation = Situation(customer, {}, now_ms, scorer)
    return {
        "customer": surrogate,
        "as_of": _time(now_ms),
        "journal_offset": customer.offset,
        "zone": customer.zone or None,
        "first_seen_at": _time(customer.first_seen_ms),
        "last_seen_at": _time(customer.last_seen_ms),
        "counts": {
            "events": customer.events,
            "duplicates": customer.duplicates,
            "by_channel": dict(customer.contacts),
            "complaints": customer.complaints,
            "messages_sent": customer.messages_sent,
            "offers_presented": customer.offers_presented,
            "offers_accepted": customer.offers_accepted,
            "offers_rejected": customer.offers_rejected,
        },
        "purchases": {
            "frequency": customer.purchases,
            "spend_minor": customer.spend_minor,
            "currency": customer.currency,
            "first_at": _time(customer.first_purchase_ms),
            "last_at": _time(customer.last_purchase_ms),
            "days_since_last": round(situation.days_since(customer.last_purchase_ms), 2)
            if customer.purchases
            else None,
        },
        "risk": {
            "churn": situation.churn_risk,
            "value_minor": situation.value_minor,
            "value_at_risk_minor": situation.value_at_risk_minor,
            "model": model,
        },
        "open_disputes": cases.open_disputes(customer),
        "open_cases": cases.open_cases(customer),
        "suppressions": _suppressions(customer),
        "consents": [_consent(key, word.at_ms, given=word.given) for key, word in sorted(customer.consents.items())],
        "in_flight": [_queued(id_, item, now_ms) for id_, item in customer.queue.items()],
        "last_proposals": [
            {"action": id_, "class": proposal.action_class, "at": _time(proposal.at_ms)}
            for id_, proposal in sorted(customer.proposals.items(), key=lambda pair: -pair[1].at_ms)
        ],
        "contacts_made": [
            _made(id_, contact)
            for id_, contact in sorted(customer.made.items(), key=lambda pair: -pair[1].at_ms)[:CONTACTS_MADE]
        ],
        "recent_contacts": [_contact(contact) for contact in reversed(contacts.whole(customer))],
    }


def _suppressions(customer: Customer) -> list[dict[str, Any]]:
    hold = customer.hold
    if hold is None:
        return []
    return [
        {
            "id": hold.suppression_id,
            "scope": SCOPE,
            "started_at": _time(hold.started_ms),
            "evidence": list(hold.evidence),
        }
    ]


def _consent(key: str, at_ms: int, *, given: bool) -> dict[str, Any]:
    purpose, _, channel = key.partition("/")
    return {
        "purpose": purpose,
        "channel": None if channel == consent.EVERY_CHANNEL else channel,
        "given": given,
        "at": _time(at_ms),
    }


def _queued(decision_id: str, item: Any, now_ms: int) -> dict[str, Any]:
    return {
        "decision": decision_id,
        "action": item.action_id,
        "treatment": item.treatment_id,
        "channel": item.channel,
        "class": item.action_class,
        "decided_at": _time(item.decided_ms),
        "valid_until": _time(item.valid_until_ms),
        "expired": item.valid_until_ms < now_ms,
    }


def _made(decision_id: str, contact: Made) -> dict[str, Any]:
    return {
        "decision": decision_id,
        "action": contact.action_id,
        "channel": contact.channel,
        "class": contact.action_class,
        "at": _time(contact.at_ms),
        "confirmed": contact.confirmed,
        "delivered_at": _time(contact.delivered_ms),
        "outcome": contact.outcome,
        "outcome_at": _time(contact.outcome_ms),
    }


def _contact(contact: Any) -> dict[str, Any]:
    return {
        "at": _time(contact.at_ms),
        "type": contact.type,
        "channel": contact.channel,
        "source": contact.source,
        "event": contact.event_id,
        "touchpoint": contact.touchpoint,
        "amount_minor": contact.amount_minor,
        "reference": contact.reference,
        "decision": contact.decision_id,
        "attributes": contact.attributes,
    }


def _document(active: Active | None) -> dict[str, str] | None:
    return None if active is None else {"name": active.name, "version": active.version, "sha256": active.sha256}


@lru_cache(maxsize=65_536)  # a contact is written again at each of the next few
def _time(time_ms: int) -> str | None:
    return names.rfc3339(time_ms) if time_ms else None
