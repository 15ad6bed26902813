"""What folds put out, counted from the topics of decisions and suppressions from now on.

After a crash a fold may send outputs again, with the same position: each is counted once.
"""

import logging
from typing import Any

from prometheus_client import Counter
from prometheus_client.registry import CollectorRegistry

from schemas import headers as names
from schemas import topics
from schemas.codec import decode
from schemas.errors import ContractError
from schemas.vocabulary import ReasonCode, SuppressionReason, SuppressionStatus

logger = logging.getLogger(__name__)

TOPICS = (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)
MOST_SERIES = 5_000
"""Kinds, reasons and actions that are told apart; what comes after that many is counted under the action `(other)`."""
_OTHER = "(other)"


class Outputs:
    """Counts decisions by kind, reason and action, and suppressions by status and reason."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "attune_decisions",
            "Decisions by kind, reason and action; where there is no action it is empty.",
            ["kind", "reason", "action"],
            registry=registry,
        )
        self._candidates = Counter(
            "attune_candidates",
            "Candidates of decisions by what became of them: which rules remove how many.",
            ["reason"],
            registry=registry,
        )
        self._suppressions = Counter(
            "attune_suppressions",
            "Suppressions by status (STARTED, LIFTED) and reason.",
            ["status", "reason"],
            registry=registry,
        )
        self._unreadable = Counter(
            "attune_outputs_unreadable", "Records of these topics that are no outputs.", ["topic"], registry=registry
        )
        for reason in ReasonCode:  # from 0 on, so that a first one is seen as an increase
            self._candidates.labels(reason.value)
        for status in SuppressionStatus:
            for why in SuppressionReason:
                self._suppressions.labels(status.value, why.value)
        self._seen: set[tuple[str, str, str]] = set()
        self._applied: dict[tuple[str, int, int], tuple[int, int]] = {}

    def take(self, record: Any) -> names.Position | None:
        """Count a record; return its position if it is an output that was not seen before."""
        position = _position(record)
        if position is None:
            self._unreadable.labels(record.topic).inc()
            return None
        place = (record.topic, record.partition, position.partition)
        mark = (position.offset, position.emission)
        if mark <= self._applied.get(place, (-1, -1)):
            return None
        try:
            content = decode(record.value)
            (self._suppression if record.topic == topics.SUPPRESSIONS else self._decision)(content)
        except (ContractError, KeyError) as error:
            logger.warning("%s/%d/%d is not counted: %s", record.topic, record.partition, record.offset, error)
            self._unreadable.labels(record.topic).inc()
            return None
        self._applied[place] = mark
        return position

    def _decision(self, content: dict[str, Any]) -> None:
        labels = (content["kind"], content["reason"], content["action_id"] or "")
        if labels not in self._seen:
            if len(self._seen) >= MOST_SERIES:
                labels = (content["kind"], content["reason"], _OTHER)
            self._seen.add(labels)
        self._decisions.labels(*labels).inc()
        for candidate in content["candidates"]:
            self._candidates.labels(candidate["reason"]).inc()

    def _suppression(self, content: dict[str, Any]) -> None:
        self._suppressions.labels(content["status"], content["reason"]).inc()


def _position(record: Any) -> names.Position | None:
    value = names.first(record.headers, names.POSITION)
    try:
        return None if value is None else names.Position.parse(value)
    except ValueError:
        return None
