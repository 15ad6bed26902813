"""What a connector knows about one partition: actions that wait, suppressions that hold.  No I/O, no clock.

Time is event time: an action waits until its own partition has moved `delay_ms` beyond the moment
of the decision.  A recall of that customer stands in the same partition, so whatever was recalled
by then is known by then.

After a crash the fold repeats outputs.  A repeated proposal may come long after its delay, and its
recall some polls later: so every position is applied at most once, in this run by memory, across
runs by what is committed with the offset (see `safe_point`).
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from agents.outbound.applied import Applied
from schemas.headers import Position
from schemas.vocabulary import ActionClass, DecisionKind, ScopeKind, SuppressionStatus

PROPOSED = DecisionKind.PROPOSED.value
RECALLED = DecisionKind.RECALLED.value
STARTED = SuppressionStatus.STARTED.value
_MARKETING = ActionClass.MARKETING.value


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One action that waits, where it stands in the topic, and what had been applied before it."""

    offset: int
    action: Mapping[str, Any]
    before: Applied


@dataclasses.dataclass(slots=True)
class Verdict:
    """What is to be done with the actions whose time has come."""

    dispatch: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    suppressed: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    expired: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    delivered: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    """Delivered by an earlier run, perhaps without a report: report it, deliver nothing."""


class Waiting:
    """One partition of the actions, and the same partition of the suppressions."""

    def __init__(self, delay_ms: int, applied: Applied | None = None) -> None:
        """Take the dispatch delay in milliseconds of event time, and what was committed with the offset."""
        self._delay_ms = delay_ms
        self._applied = Applied() if applied is None else applied
        self._applied_suppressions = Applied()
        self._held: dict[str, Held] = {}
        self._delivered: dict[str, Held] = {}
        self._recalls: set[str] = set()
        self._holds: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._next_offset = 0
        self.clock_ms = 0
        """Newest moment of a decision in this partition."""
        self.recalled = 0
        self.repeated = 0
        """Actions and suppressions passed over because they had been applied."""

    def __len__(self) -> int:
        """Return how many actions wait."""
        return len(self._held)

    @property
    def safe_point(self) -> tuple[int, Applied]:
        """The offset up to which everything is settled, and what was applied before it: to be committed together.

        After a restart the records from that offset on are taken in again, so what they hold must not
        count as applied; what came before must, since a repetition of it may still come.  One commit
        holds both (the second as the offset's metadata), so they cannot contradict each other.
        """
        waiting = itertools.chain(self._held.values(), self._delivered.values())
        first = min(waiting, key=lambda held: held.offset, default=None)
        return (self._next_offset, self._applied) if first is None else (first.offset, first.before)

    def decision(self, offset: int, decision: Mapping[str, Any], position: Position | None, *, done: bool) -> None:
        """Take in a record of the actions topic; `done` says that it was delivered before.

        `position` is None for a record that the fold did not write: nothing is known about it, so it is taken.
        """
        before = self._applied.copy()
        self._next_offset = offset + 1
        if position is not None and not self._applied.admit(position):
            self.repeated += 1
            return
        self.clock_ms = max(self.clock_ms, decision["decided_at"])
        decision_id = decision["decision_id"]
        if decision["kind"] == PROPOSED and decision_id not in self._recalls:
            (self._delivered if done else self._held)[decision_id] = Held(offset, decision, before)
        elif decision["kind"] == RECALLED:
            self._recalls.add(decision["recalls"])
            if self._held.pop(decision["recalls"], None) is not None:
                self.recalled += 1

    def suppression(self, suppression: Mapping[str, Any], position: Position | None) -> None:
        """Take in a record of the suppressions topic, which every run reads from its start."""
        if position is not None and not self._applied_suppressions.admit(position):
            self.repeated += 1
            return
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
        verdict = Verdict(delivered=[held.action for held in self._delivered.values()])
        self._delivered.clear()
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
