"""From what the fold wrote to what stands in the views.  Pure: the same record and model give the same bytes."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from agents.profile import describe
from agents.view import Document, StateWrite, plain, state_position
from schemas import headers as names
from schemas import topics
from schemas.codec import EMBEDDED
from streams import cases, made
from streams.customer import Customer
from streams.documents import Documents
from streams.partition import Active, Partition
from streams.risk import Scorer
from streams.state import STATE_CODEC

SOURCE: Final = "/attune/views"

_ENCODE = msgspec.json.Encoder().encode


class Message(NamedTuple):
    """A record of the state topic without its key; no value removes the customer."""

    value: bytes | None
    headers: names.Headers


class Derived(NamedTuple):
    """One state of the changelog, for Redis and for the topic."""

    write: StateWrite
    message: Message


class Derive:
    """Makes views of encoded states; it remembers only models made ready."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        """Take documents by SHA-256; the mapping may fill up later."""
        self._documents = Documents(documents)

    def state(self, partition: int, key: bytes, fence: int, value: bytes | None, model: Document | None) -> Derived:
        """Return the views of one state; None removes it.

        Raises DocumentMissing while the model is not there, NewerState and MalformedState for bytes that this release
        cannot read: none of them is the record's fault.
        """
        surrogate = key.decode()
        position = state_position(partition, fence, model)
        if value is None:
            return Derived(StateWrite(surrogate, position, None), Message(None, []))
        customer = STATE_CODEC.decode(value)
        assert isinstance(customer, Customer)
        scorer = self._documents.scorer(None if model is None else Active(*_fields(model)))
        return Derived(
            StateWrite(surrogate, position, state_document(surrogate, customer, scorer, model)),
            state_message(surrogate, partition, customer, scorer, model),
        )


def partition_of(value: bytes) -> Partition:
    """Read what a journal partition remembers of itself; errors as `Derive.state`."""
    found = STATE_CODEC.decode(value)
    assert isinstance(found, Partition)
    return found


def document_of(active: Active | None) -> Document | None:
    """Return an active document in the words of the views."""
    return None if active is None else Document(active.name, active.version, active.sha256, active.sequence)


def state_document(surrogate: str, customer: Customer, scorer: Scorer | None, model: Document | None) -> bytes:
    """Return a state as JSON, risk and ages as of the customer's newest event, so that no clock is in it."""
    found = describe(surrogate, customer, customer.last_seen_ms, scorer, plain(model))
    return _ENCODE({**found, "answered": made.answered(customer)})


def state_message(
    surrogate: str, partition: int, customer: Customer, scorer: Scorer | None, model: Document | None
) -> Message:
    """Return a state as a CustomerState, risk as of the customer's newest event."""
    record = {
        "customer": surrogate,
        "position": {"partition": partition, "offset": customer.offset},
        "first_seen_at": customer.first_seen_ms,
        "last_seen_at": customer.last_seen_ms,
        "purchases": customer.purchases,
        "spend_minor": customer.spend_minor,
        "last_purchase_at": customer.last_purchase_ms or None,
        "contacts": dict(customer.contacts),
        "open_disputes": cases.open_disputes(customer),
        "consents": {key: word.given for key, word in sorted(customer.consents.items())},
        "churn_risk": None if scorer is None else scorer.churn_risk(customer, customer.last_seen_ms),
        "suppressions": [] if customer.hold is None else [customer.hold.suppression_id],
        "queued": list(customer.queue),
        "scored_by": plain(model),
        "events": customer.events,
        "currency": customer.currency,
        "first_purchase_at": customer.first_purchase_ms or None,
        "open_cases": cases.open_cases(customer),
        "complaints": customer.complaints,
        "messages_sent": customer.messages_sent,
        "offers_presented": customer.offers_presented,
        "offers_accepted": customer.offers_accepted,
        "offers_rejected": customer.offers_rejected,
        "zone": customer.zone,
    }
    headers = names.cloud_event(
        event_id=f"{topics.JOURNAL}-{partition}-{customer.offset}",
        ce_type=names.CUSTOMER_STATE,
        source=SOURCE,
        time_ms=customer.last_seen_ms,
        subject=surrogate,
    )
    return Message(EMBEDDED.encode("CustomerState", record), headers)


def action_document(decision: Mapping[str, Any]) -> bytes:
    """Return a proposed action as JSON."""
    trigger = decision["trigger"]
    return _ENCODE(
        {
            "decision": decision["decision_id"],
            "action": decision["action_id"],
            "issue": decision["issue"],
            "group": decision["group"],
            "treatment": decision["treatment_id"],
            "channel": decision["channel"],
            "placement": decision["placement"],
            "class": decision["action_class"],
            "priority": decision["priority"],
            "decided_at": names.rfc3339(decision["decided_at"]),
            "valid_until": names.rfc3339(decision["valid_until"]),
            "trigger": {
                "event": trigger["event_id"],
                "type": trigger["type"],
                "occurred_at": names.rfc3339(trigger["occurred_at"]),
            },
            "churn_risk": decision["churn_risk"],
            "value_at_risk_minor": decision["value_at_risk_minor"],
            "content": decision["content"],
            "policy": decision["policy"],
            "model": decision["model"],
        }
    )


def suppression_document(suppression: Mapping[str, Any]) -> bytes:
    """Return a suppression in force as JSON."""
    return _ENCODE(
        {
            "id": suppression["suppression_id"],
            "scope_kind": suppression["scope_kind"],
            "scope": suppression["scope"],
            "reason": suppression["reason"],
            "evidence": suppression["evidence"],
            "release_condition": suppression["release_condition"],
            "started_at": names.rfc3339(suppression["started_at"]),
        }
    )


def _fields(document: Document) -> tuple[str, str, str, int]:
    return document.name, document.version, document.sha256, document.sequence
