"""From what the store has of one customer to what is said of it: current, ranked, and held where that is not certain.

The three parts of a view are written apart, so each has its own position; where two of them speak of the same thing,
the one that stands further on counts.
"""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from agents.view import Mark, Stored, doubt, place
from schemas import headers as names
from schemas.vocabulary import ActionClass, ScopeKind

_MARKETING: Final = ActionClass.MARKETING.value


class HeldBecause(StrEnum):
    """Why an action is not to be carried out now."""

    STALE = "STALE"
    SUPPRESSED = "SUPPRESSED"


class _State(msgspec.Struct):
    """What is looked at of a state's document."""

    suppressions: list[dict[str, Any]]
    answered: list[str]


_DECODE_STATE = msgspec.json.Decoder(_State).decode
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


@dataclasses.dataclass(frozen=True, slots=True)
class Freshness:
    """How far a customer's view goes, and why it is stale, if it is.

    `shown_ms` is the time by which everything that was durable is shown, 0 if that is not known.
    """

    partition: int
    position: int
    shown_ms: int
    reasons: tuple[str, ...]

    @property
    def stale(self) -> bool:
        """Whether it may lack what happened long ago already."""
        return bool(self.reasons)

    def to_json(self, now_ms: float) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "partition": self.partition,
            "position": self.position,
            "shown_until": names.rfc3339(self.shown_ms) if self.shown_ms else None,
            "age_seconds": round((now_ms - self.shown_ms) / 1_000, 3) if self.shown_ms else None,
            "stale_because": list(self.reasons),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What must be fresh for something to be fresh; `reasons` say why it is stale however fresh they are.

    Of a customer `partition` is the one of the journal, and its source of states stands first.
    """

    names: tuple[str, ...]
    partition: int = -1
    reasons: tuple[str, ...] = ()


def freshness(sources: Sources, marks: Mapping[str, Mark | None], now_ms: float, stale_seconds: float) -> Freshness:
    """Judge the marks of sources: fresh only if all of them are."""
    found = [marks.get(name) for name in sources.names]
    judged = ((name, doubt(name, mark, now_ms, stale_seconds)) for name, mark in zip(sources.names, found, strict=True))
    reasons = (*sources.reasons, *(f"{name} {why}" for name, why in judged if why is not None))
    shown_ms = min((0 if mark is None else mark.shown_ms for mark in found), default=0)
    return Freshness(sources.partition, -1 if found[0] is None else found[0].position, shown_ms, reasons)


def suppressions(stored: Stored) -> list[dict[str, Any]]:
    """Return the suppressions in force, by id.

    The state knows them too, and for longer than the suppressions topic keeps its records: one that only the state
    has counts, unless the newest word of the topic is newer than the state.
    """
    found = {id_: _DECODE(document) for id_, document in stored.suppressions.items()}
    state = _state(stored)
    if state is not None and place(stored.suppressions_position) <= place(stored.state_position):
        for hold in state.suppressions:
            found.setdefault(hold["id"], _from_state(hold))
    return [found[id_] for id_ in sorted(found)]


def actions(
    stored: Stored,
    now_ms: float,
    *,
    stale: bool,
    channel: str | None = None,
    placement: str | None = None,
) -> list[dict[str, Any]]:
    """Return the current actions, highest priority first, ties by action id, each with why it is held.

    Current is what was proposed, not recalled, is valid at `now_ms` and was not answered.  While the view is stale
    marketing is held: a suppression or a recall may be on its way.
    """
    state, now = _state(stored), names.rfc3339(int(now_ms))
    answered = frozenset(() if state is None else state.answered)
    holds = suppressions(stored)
    found = []
    for id_, document in stored.actions.items():
        action = _DECODE(document)
        if id_ in answered or action["valid_until"] < now:
            continue
        if channel not in (None, action["channel"]) or placement not in (None, action["placement"]):
            continue
        reasons = []
        if stale and action["class"] == _MARKETING:
            reasons.append(HeldBecause.STALE.value)
        if any(covers(hold, action) for hold in holds):
            reasons.append(HeldBecause.SUPPRESSED.value)
        found.append({**action, "held": bool(reasons), "held_because": reasons})
    return sorted(found, key=lambda action: (-action["priority"], action["action"], action["decision"]))


def covers(hold: Mapping[str, Any], action: Mapping[str, Any]) -> bool:
    """Return whether a suppression's scope covers an action; a scope that is not understood covers everything."""
    kind, scope = hold["scope_kind"], hold["scope"]
    if kind == ScopeKind.CLASS.value:
        return bool(action["class"] == scope)
    if kind == ScopeKind.CHANNEL.value:
        return bool(action["channel"] == scope)
    if kind == ScopeKind.OFFER.value:
        return bool(action["action"] == scope)
    return True


def _state(stored: Stored) -> _State | None:
    return None if stored.state is None else _DECODE_STATE(stored.state)


def _from_state(hold: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": hold["id"],
        "scope_kind": ScopeKind.CLASS.value,
        "scope": hold["scope"],
        "reason": None,
        "evidence": hold["evidence"],
        "release_condition": None,
        "started_at": hold["started_at"],
    }
