"""Outputs of one record, in their order: an output's id is the record's position and its index among them."""

from typing import Any, Final

from schemas import headers as names
from schemas.codec import encode
from schemas.message import Message
from schemas.vocabulary import (
    ActionClass,
    Channel,
    DecisionKind,
    ReasonCode,
    ScopeKind,
    SuppressionReason,
    SuppressionStatus,
)
from streams.customer import Hold, Queued
from streams.meaning import Event

ACTIONS: Final = "crm.next-best-actions.v1"
SUPPRESSIONS: Final = "crm.suppressions.v1"
SOURCE: Final = "attune/core"

RELEASE: Final = "every dispute of the customer is resolved"

PROPOSED: Final = DecisionKind.PROPOSED.value
RECALLED: Final = DecisionKind.RECALLED.value
NO_ACTION: Final = DecisionKind.NO_ACTION.value

_CE_TYPE: Final = {
    PROPOSED: names.ACTION_PROPOSED,
    RECALLED: names.ACTION_RECALLED,
    NO_ACTION: names.NO_ACTION,
}
_OTHER: Final = Channel.OTHER.value
_MARKETING: Final = ActionClass.MARKETING.value

Output = tuple[str, bytes, bytes, list[tuple[str, bytes]]]
"""Topic, key, value, headers."""


class Outbox:
    """Collects the outputs of one record for one customer."""

    __slots__ = ("_customer", "_event", "_ids", "_key", "_traceparent", "now_ms", "outputs")

    def __init__(
        self,
        record: Message,
        event: Event,
        now_ms: int,
        traceparent: bytes | None,
        place: tuple[int, int] | None = None,
    ) -> None:
        """Take the record, the event in it, the time, and the trace to pass on.

        `place` is the partition and the offset that a copied record had first: it gives the ids.
        """
        assert record.key is not None
        self._key = record.key
        self._customer = record.key.decode()
        partition, offset = place or (record.partition, record.offset)
        self._ids = f"{record.topic}-{partition}-{offset}-"
        self._event = event
        self._traceparent = traceparent
        self.now_ms = now_ms
        self.outputs: list[Output] = []

    def next_id(self) -> str:
        """Return the id of the output that comes next."""
        return f"{self._ids}{len(self.outputs)}"

    def decision(self, kind: str, reason: str, **fields: Any) -> None:
        """Emit a next best action of that DecisionKind; `fields` as in the schema, the rest by its defaults."""
        record: dict[str, Any] = {
            "decision_id": self.next_id(),
            "kind": kind,
            "customer": self._customer,
            "action_id": None,
            "issue": "",
            "group": "",
            "treatment_id": "",
            "channel": _OTHER,
            "action_class": _MARKETING,
            "decided_at": self.now_ms,
            "valid_until": self.now_ms,
            "trigger": {
                "event_id": self._event["event_id"],
                "type": self._event["type"],
                "occurred_at": self._event["occurred_at"],
            },
            "priority": 0.0,
            "factors": None,
            "churn_risk": None,
            "value_at_risk_minor": None,
            "reason": reason,
            "candidates": [],
            "policy": None,
            "model": None,
            "recalls": None,
            "content": {},
            "placement": "",
        }
        record.update(fields)
        self._send(ACTIONS, encode("NextBestAction", record), _CE_TYPE[kind])

    def recall(self, decision_id: str, queued: Queued, reason: ReasonCode) -> None:
        """Emit the recall of an action that waits."""
        self.decision(
            RECALLED,
            reason.value,
            action_id=queued.action_id,
            issue=queued.issue,
            group=queued.group,
            treatment_id=queued.treatment_id,
            channel=queued.channel,
            action_class=queued.action_class,
            valid_until=queued.valid_until_ms,
            recalls=decision_id,
        )

    def suppression(self, hold: Hold, scope: str, *, lifted: bool) -> None:
        """Emit the start or the lift of a suppression."""
        record = {
            "suppression_id": hold.suppression_id,
            "status": (SuppressionStatus.LIFTED if lifted else SuppressionStatus.STARTED).value,
            "customer": self._customer,
            "scope_kind": ScopeKind.CLASS.value,
            "scope": scope,
            "reason": SuppressionReason.OPEN_DISPUTE.value,
            "evidence": list(hold.evidence),
            "release_condition": RELEASE,
            "started_at": hold.started_ms,
            "lifted_at": self.now_ms if lifted else None,
        }
        kind = names.SUPPRESSION_LIFTED if lifted else names.SUPPRESSION_STARTED
        self._send(SUPPRESSIONS, encode("Suppression", record), kind)

    def _send(self, topic: str, value: bytes, ce_type: str) -> None:
        headers = names.cloud_event(
            event_id=self.next_id(),
            ce_type=ce_type,
            source=SOURCE,
            time_ms=self.now_ms,
            subject=self._customer,
            traceparent=self._traceparent,
        )
        self.outputs.append((topic, self._key, value, headers))
