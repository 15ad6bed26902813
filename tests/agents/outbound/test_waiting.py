"""A connector's judgement: what is dispatched, what is recalled, what is held back, and what a restart repeats."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.outbound.applied import Applied
from agents.outbound.outbox import Outbox
from agents.outbound.waiting import Waiting
from schemas.headers import Position

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
        made.decision(offset, decision, Position(0, offset, 0), done=False)
    return made


def dispatched(made: Waiting, **options: Any) -> list[str]:
    return [found["decision_id"] for found in made.due(**{"fresh": True, **options}).dispatch]


def test_holds_an_action_for_the_delay_in_event_time() -> None:
    """Nothing goes out before the partition has moved on by the delay."""
    made = waiting(action(1, 0), action(2, 5 * HOUR))
    assert dispatched(made) == []
    made.decision(2, action(3, 6 * HOUR), Position(0, 2, 0), done=False)
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
    made.suppression(suppression("STARTED"), Position(0, 1, 1))
    verdict = made.due(fresh=True)
    assert [found["decision_id"] for found in verdict.dispatch] == ["d2"]
    assert [found["decision_id"] for found in verdict.suppressed] == ["d1"]
    made.suppression(suppression("LIFTED"), Position(0, 2, 1))
    made.decision(9, action(4, 20 * HOUR), Position(0, 9, 0), done=False)
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
    made.suppression(suppression("STARTED", scope_kind=scope_kind, scope=scope), None)
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
    assert made.safe_point[0] == 0
    made.due(fresh=True)
    assert made.safe_point[0] == 1
    made.due(fresh=True, flush=True)
    assert made.safe_point[0] == 3


def test_a_repeated_proposal_is_passed_over() -> None:
    """A proposal and its recall come again after a crash of the fold: the proposal alone is held no more."""
    proposal, withdrawal = action(1, 0), recall(1, HOUR)
    made = waiting(proposal, withdrawal, action(2, 9 * HOUR))
    made.decision(3, proposal, Position(0, 0, 0), done=False)
    assert dispatched(made) == []
    assert (len(made), made.recalled, made.repeated, made.safe_point[0]) == (1, 1, 1, 2)


def test_a_recalled_proposal_without_a_position_is_passed_over() -> None:
    """Where nothing tells a repetition, the ids recalled in this run do."""
    made = Waiting(delay_ms=0)
    for offset, decision in enumerate([action(1, 0), recall(1, HOUR), action(1, 0), action(2, HOUR)]):
        made.decision(offset, decision, None, done=False)
    assert dispatched(made) == ["d2"]


def test_journal_partitions_are_told_apart() -> None:
    """Positions of several journal partitions that feed one partition of actions do not hide each other."""
    made = Waiting(delay_ms=0)
    for offset, (number, place) in enumerate([(1, (0, 7, 1)), (2, (1, 3, 0)), (3, (0, 7, 2)), (1, (0, 7, 1))]):
        made.decision(offset, action(number, 0), Position(*place), done=False)
    assert dispatched(made) == ["d1", "d2", "d3"]
    assert made.repeated == 1


def test_a_repeated_suppression_holds_nobody_again() -> None:
    """A start that comes again after its lift is passed over, though its lift has not come again yet."""
    made = waiting(action(1, 0), action(2, 9 * HOUR))
    for status, place in (("STARTED", 1), ("LIFTED", 2), ("STARTED", 1)):
        made.suppression(suppression(status), Position(0, place, 1))
    assert dispatched(made) == ["d1"]


def test_what_is_committed_tells_a_repetition_from_what_is_read_again() -> None:
    """After a restart an action that waits is taken in; a repeated proposal, recalled before the offset, is not."""
    lost = action(1, 0)
    log = [
        (lost, 0),
        (recall(1, HOUR), 1),
        (action(2, HOUR), 2),
        (action(3, 2 * HOUR), 3),
        (lost, 0),
        (action(4, 9 * HOUR), 4),
    ]
    made = Waiting(delay_ms=6 * HOUR)
    for offset, (decision, place) in enumerate(log[:4]):
        made.decision(offset, decision, Position(0, place, 0), done=False)
    first, applied = made.safe_point
    assert (first, str(applied)) == (2, "0/1/0")
    again = Waiting(6 * HOUR, Applied.parse(str(applied)))
    for offset, (decision, place) in list(enumerate(log))[first:]:
        again.decision(offset, decision, Position(0, place, 0), done=False)
    assert dispatched(again) == ["d2", "d3"]
    assert again.repeated == 1


def test_what_was_delivered_is_reported_again() -> None:
    """It is delivered no more, keeps the offset until it is settled, and waits for neither clock nor suppressions."""
    made = Waiting(delay_ms=6 * HOUR)
    made.decision(0, action(1, 0), Position(0, 0, 0), done=True)
    assert (len(made), made.safe_point[0]) == (0, 0)
    verdict = made.due(fresh=False)
    assert [found["decision_id"] for found in verdict.delivered] == ["d1"]
    assert verdict.dispatch == []
    assert made.safe_point[0] == 1
    assert made.due(fresh=True).delivered == []


def test_applied_positions_as_text() -> None:
    """They survive as text, also none; anything else is refused."""
    applied = Applied([Position(3, 4, 0), Position(0, 17, 1)])
    assert str(applied) == "0/17/1 3/4/0"
    again = Applied.parse(str(applied))
    assert [again.admit(Position(0, 17, 1)), again.admit(Position(0, 17, 2)), again.admit(Position(1, 0, 0))] == [
        False,
        True,
        True,
    ]
    assert str(Applied.parse("")) == ""
    with pytest.raises(ValueError, match="attune-position"):
        Applied.parse("somebody else's")


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
