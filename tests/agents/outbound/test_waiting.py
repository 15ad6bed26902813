"""A connector's judgement: what is dispatched, what is recalled, what is held back, and what a restart repeats."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.outbound.outbox import Outbox
from agents.outbound.waiting import Waiting

HOUR = 3_600_000
CUSTOMER = "c" * 32


def action(number: int, at: int, **changes: Any) -> dict[str, Any]:
    return {
        "decision_id": f"d{number}",
        "kind": "PROPOSED",
        "customer": CUSTOMER,
        "action_id": "save-offer",
        "treatment_id": "t",
        "channel": "DIRECT_MARKETING",
        "action_class": "MARKETING",
        "decided_at": at,
        "valid_until": at + 100 * HOUR,
        "recalls": None,
        "content": {},
        **changes,
    }


def recall(number: int, at: int) -> dict[str, Any]:
    return action(1_000 + number, at, kind="RECALLED", recalls=f"d{number}")


def suppression(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "suppression_id": "s1",
        "status": status,
        "customer": CUSTOMER,
        "scope_kind": "CLASS",
        "scope": "MARKETING",
        **changes,
    }


def waiting(*decisions: dict[str, Any]) -> Waiting:
    made = Waiting(delay_ms=6 * HOUR)
    for offset, decision in enumerate(decisions):
        made.decision(offset, decision, done=False)
    return made


def dispatched(made: Waiting, **options: Any) -> list[str]:
    return [found["decision_id"] for found in made.due(**{"fresh": True, **options}).dispatch]


def test_holds_an_action_for_the_delay_in_event_time() -> None:
    """Nothing goes out before the partition has moved on by the delay."""
    made = waiting(action(1, 0), action(2, 5 * HOUR))
    assert dispatched(made) == []
    made.decision(2, action(3, 6 * HOUR), done=False)
    assert dispatched(made) == ["d1"]
    assert len(made) == 2


def test_a_recall_that_came_in_time_is_honoured() -> None:
    """A recalled action is never dispatched, and is counted."""
    made = waiting(action(1, 0), recall(1, HOUR), action(2, 9 * HOUR))
    assert dispatched(made) == []
    assert made.recalled == 1


def test_a_suppression_is_checked_again_just_before_dispatch() -> None:
    """Under a suppression marketing is withheld and service goes out; after the lift marketing goes out again."""
    made = waiting(action(1, 0), action(2, 0, action_class="SERVICE"), action(3, 9 * HOUR))
    made.suppression(suppression("STARTED"))
    verdict = made.due(fresh=True)
    assert [found["decision_id"] for found in verdict.dispatch] == ["d2"]
    assert [found["decision_id"] for found in verdict.suppressed] == ["d1"]
    made.suppression(suppression("LIFTED"))
    made.decision(9, action(4, 20 * HOUR), done=False)
    assert dispatched(made) == ["d3"]


@pytest.mark.parametrize(
    ("scope_kind", "scope", "covered"),
    [
        ("EVERYTHING", "", True),
        ("CHANNEL", "DIRECT_MARKETING", True),
        ("CHANNEL", "OUTLET", False),
        ("OFFER", "save-offer", True),
        ("CLASS", "SERVICE", False),
        ("SOMETHING_NEW", "", True),
    ],
)
def test_scopes(scope_kind: str, scope: str, covered: bool) -> None:
    """Each scope covers what it names; one that this connector does not know covers everything."""
    made = waiting(action(1, 0), action(2, 9 * HOUR))
    made.suppression(suppression("STARTED", scope_kind=scope_kind, scope=scope))
    assert dispatched(made) == ([] if covered else ["d1"])


def test_a_stale_view_holds_marketing_only() -> None:
    """Fail closed: without a fresh view of the suppressions marketing waits, service does not."""
    made = waiting(action(1, 0), action(2, 0, action_class="SERVICE"), action(3, 9 * HOUR))
    assert dispatched(made, fresh=False) == ["d2"]
    assert dispatched(made) == ["d1"]


def test_what_would_arrive_too_late_is_not_sent() -> None:
    """An action whose validity ends before its dispatch expires."""
    made = waiting(action(1, 0, valid_until=HOUR), action(2, 9 * HOUR))
    assert [found["decision_id"] for found in made.due(fresh=True).expired] == ["d1"]


def test_commits_only_what_is_settled() -> None:
    """The offset to commit never passes an action that still waits, so that a restart reads it again."""
    made = waiting(action(1, 0), action(2, 5 * HOUR), action(3, 6 * HOUR))
    assert made.safe_offset == 0
    made.due(fresh=True)
    assert made.safe_offset == 1
    made.due(fresh=True, flush=True)
    assert made.safe_offset == 3


def test_the_outbox_remembers_across_restarts_and_drops_a_cut_line(tmp_path: Path) -> None:
    """What is in the file was delivered; a line that a crash cut off was not."""
    path = tmp_path / "outbox.jsonl"
    outbox = Outbox(path)
    outbox.deliver([{"decision_id": "a"}, {"decision_id": "b"}])
    outbox.close()
    with path.open("ab") as file:
        file.write(b'{"decision_id": "c"')
    again = Outbox(path)
    assert [decision_id in again for decision_id in "abc"] == [True, True, False]
    again.deliver([{"decision_id": "c"}])
    again.close()
    assert [json.loads(line)["decision_id"] for line in path.read_text().splitlines()] == ["a", "b", "c"]
