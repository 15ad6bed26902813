"""What a connector knows about one partition: actions that wait, suppressions that hold.  No I/O, no clock.

Time is event time: an action waits until its own partition has moved `delay_ms` beyond the moment
of the decision.  A recall of that customer stands in the same partition, so whatever was recalled
by then is known by then.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from schemas.vocabulary import ActionClass, DecisionKind, ScopeKind, SuppressionStatus

PROPOSED = DecisionKind.PROPOSED.value
RECALLED = DecisionKind.RECALLED.value
STARTED = SuppressionStatus.STARTED.value
_MARKETING = ActionClass.MARKETING.value


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One action that waits, and where it stands in the topic."""

    offset: int
    action: Mapping[str, Any]


@dataclasses.dataclass(slots=True)
class Verdict:
    """What is to be done with the actions whose time has come."""

    dispatch: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    suppressed: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    expired: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)


class Waiting:
    """One partition of the actions, and the same partition of the suppressions."""

    def __init__(self, delay_ms: int) -> None:
        """Take the dispatch delay in milliseconds of event time."""
        self._delay_ms = delay_ms
        self._held: dict[str, Held] = {}
        self._holds: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._next_offset = 0
        self.clock_ms = 0
        """Newest moment of a decision in this partition."""
        self.recalled = 0

    def __len__(self) -> int:
        """Return how many actions wait."""
        return len(self._held)

    @property
    def safe_offset(self) -> int:
        """The offset up to which everything is settled: the one to commit."""
        return min((held.offset for held in self._held.values()), default=self._next_offset)

    def decision(self, offset: int, decision: Mapping[str, Any], *, done: bool) -> None:
        """Take in a record of the actions topic; `done` says that it was delivered before."""
        self._next_offset = offset + 1
        self.clock_ms = max(self.clock_ms, decision["decided_at"])
        if decision["kind"] == PROPOSED and not done:
            self._held[decision["decision_id"]] = Held(offset, decision)
        elif decision["kind"] == RECALLED and self._held.pop(decision["recalls"], None) is not None:
            self.recalled += 1

    def suppression(self, suppression: Mapping[str, Any]) -> None:
        """Take in a record of the suppressions topic."""
        holds = self._holds.setdefault(suppression["customer"], {})
        if suppression["status"] == STARTED:
            holds[suppression["suppression_id"]] = suppression
        else:
            holds.pop(suppression["suppression_id"], None)

    def due(self, *, fresh: bool, flush: bool = False) -> Verdict:
        """Settle the actions whose delay is over.

        Unless the view of the suppressions is `fresh`, marketing stays where it is: fail closed.
        `flush` lets go everything, for data that has ended.
        """
        verdict = Verdict()
        for decision_id, held in list(self._held.items()):
            action = held.action
            if not flush and self.clock_ms < action["decided_at"] + self._delay_ms:
                continue
            if action["action_class"] == _MARKETING and not fresh:
                continue
            del self._held[decision_id]
            if action["decided_at"] + self._delay_ms > action["valid_until"]:
                verdict.expired.append(action)
            elif self._is_suppressed(action):
                verdict.suppressed.append(action)
            else:
                verdict.dispatch.append(action)
        return verdict

    def _is_suppressed(self, action: Mapping[str, Any]) -> bool:
        return any(_covers(hold, action) for hold in self._holds.get(action["customer"], {}).values())


def _covers(hold: Mapping[str, Any], action: Mapping[str, Any]) -> bool:
    """Return whether a suppression's scope covers an action; a scope that is not understood covers everything."""
    kind, scope = hold["scope_kind"], hold["scope"]
    if kind == ScopeKind.CLASS.value:
        return bool(action["action_class"] == scope)
    if kind == ScopeKind.CHANNEL.value:
        return bool(action["channel"] == scope)
    if kind == ScopeKind.OFFER.value:
        return bool(action["action_id"] == scope)
    return True
