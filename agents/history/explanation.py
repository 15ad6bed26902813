"""Why a customer was, or was not, to be contacted: the newest decision and what led to it, in plain values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.history.as_of import Found, Seen
from agents.history.selection import WHAT_OF_TOPIC, What
from schemas import headers as names
from schemas.codec import EMBEDDED
from schemas.vocabulary import DecisionKind, SuppressionStatus

Decoded = tuple[names.Position, Mapping[str, Any]]


def explanation(found: Found) -> dict[str, Any]:
    """Return the newest decision, the suppressions so far and the events that they rest on.

    A decision is what one record of the journal led to: every action that it proposed, or none, with one reason for
    every candidate. Times are RFC 3339, money is in minor units.
    """
    actions = list(_decoded(found, What.ACTIONS))
    suppressions = _suppressions(_decoded(found, What.SUPPRESSIONS))
    decision = _decision(actions, found.seen)
    wanted: dict[str, list[str]] = {}
    if decision is not None:
        wanted.setdefault(decision["trigger"]["event"], []).append("trigger of the decision")
    for row in suppressions:
        for event in row["evidence"]:
            wanted.setdefault(event, []).append(f"evidence of suppression {row['id']}")
    return {"decision": decision, "suppressions_so_far": suppressions, "evidence": _evidence(found.seen, wanted)}


def _decoded(found: Found, what: What) -> Iterable[Decoded]:
    return (
        (position, EMBEDDED.decode(value))
        for position, topic, value in found.outputs
        if WHAT_OF_TOPIC.get(topic) is what
    )


def _decision(actions: Sequence[Decoded], seen: Sequence[Seen]) -> dict[str, Any] | None:
    taken = [(position, value) for position, value in actions if value["kind"] != DecisionKind.RECALLED.value]
    if not taken:
        return None
    newest = taken[-1][0].offset
    together = [(position, value) for position, value in taken if position.offset == newest]
    recalls = {value["recalls"]: (position, value) for position, value in actions if value["recalls"]}
    position, value = together[0]
    appended = next((row.appended_ms for row in seen if row.offset == newest), None)
    return {
        "journal": {"partition": position.partition, "offset": newest, "appended_at": _time(appended)},
        "decided_at": _time(value["decided_at"]),
        "trigger": {
            "event": value["trigger"]["event_id"],
            "type": value["trigger"]["type"],
            "occurred_at": _time(value["trigger"]["occurred_at"]),
        },
        "kind": value["kind"],
        "reason": value["reason"],
        "actions": [_action(value, recalls) for _, value in together if value["action_id"] is not None],
        "candidates": [dict(candidate) for candidate in value["candidates"]],
        "churn_risk": value["churn_risk"],
        "value_at_risk_minor": value["value_at_risk_minor"],
        "policy": value["policy"],
        "model": value["model"],
    }


def _action(value: Mapping[str, Any], recalls: Mapping[str, Decoded]) -> dict[str, Any]:
    recall = recalls.get(value["decision_id"])
    return {
        "decision": value["decision_id"],
        "action": value["action_id"],
        "treatment": value["treatment_id"],
        "channel": value["channel"],
        "class": value["action_class"],
        "priority": value["priority"],
        "factors": value["factors"],
        "valid_until": _time(value["valid_until"]),
        "recalled": None
        if recall is None
        else {"at": _time(recall[1]["decided_at"]), "reason": recall[1]["reason"], "offset": recall[0].offset},
    }


def _suppressions(decoded: Iterable[Decoded]) -> list[dict[str, Any]]:
    """Return one row for each suppression, as its newest word has it."""
    rows: dict[str, dict[str, Any]] = {}
    for position, value in decoded:
        row = rows.setdefault(
            value["suppression_id"], {"id": value["suppression_id"], "started_offset": position.offset}
        )
        lifted = value["status"] == SuppressionStatus.LIFTED.value
        row |= {
            "scope": value["scope"] or value["scope_kind"],
            "reason": value["reason"],
            "started_at": _time(value["started_at"]),
            "lifted_at": _time(value["lifted_at"]),
            "lifted_offset": position.offset if lifted else None,
            "release_condition": value["release_condition"],
            "evidence": list(value["evidence"]),
        }
    return list(rows.values())


def _evidence(seen: Sequence[Seen], wanted: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return where each event that is named stands in the journal, in its order; copies stand there twice."""
    return [
        {
            "event": row.event["event_id"],
            "is": list(wanted[row.event["event_id"]]),
            "type": row.event["type"],
            "occurred_at": _time(row.event["occurred_at"]),
            "source": row.event["source"],
            "channel": row.event["channel"],
            "reference": row.event["reference"],
            "offset": row.offset,
            "appended_at": _time(row.appended_ms),
            "fate": row.fate,
        }
        for row in seen
        if row.event is not None and row.event["event_id"] in wanted
    ]


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else names.rfc3339(time_ms)
