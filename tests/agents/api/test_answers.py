"""What is said of a customer: current actions in their order, suppressions in force, and marketing held in doubt."""

import json
from typing import Any

import pytest

from agents.api import models
from tests.agents.api.conftest import CUSTOMER, HOUR_MS, IDENTIFIER, NOW_MS, Desk, accepted, held

pytestmark = pytest.mark.kafka

ME = f"/v1/customers/{IDENTIFIER}"


async def actions(desk: Desk, query: str = "") -> list[dict[str, Any]]:
    """Return the actions of the customer."""
    answer = await desk.get(f"{ME}/actions{query}")
    assert answer.status_code == 200, answer.text
    return models.Actions.model_validate_json(answer.text).model_dump(by_alias=True)["actions"]


async def suppressions(desk: Desk) -> list[str]:
    """Return the ids of the suppressions of the customer."""
    answer = await desk.get(f"{ME}/suppressions")
    assert answer.status_code == 200, answer.text
    return [one.id for one in models.Suppressions.model_validate_json(answer.text).suppressions]


async def test_everything_of_a_customer(desk: Desk) -> None:
    """State as it stands in Redis, actions, suppressions and freshness, as the declared models say."""
    await desk.state(purchases=3, spend_minor=900, currency="EUR")
    await desk.action("a")
    await desk.hold()
    answer = await desk.get(ME)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = models.Customer.model_validate_json(answer.text)
    assert (found.customer, found.stale, found.freshness.partition) == (CUSTOMER, False, 3)
    assert found.state is not None
    assert found.state["purchases"]["spend_minor"] == 900
    assert [one.action for one in found.actions] == ["a"]
    assert [one.id for one in found.suppressions] == ["hold-1"]
    assert json.loads(answer.text)["state"] == json.loads((await desk.store.read(CUSTOMER)).state or b"")


async def test_actions_are_ranked(desk: Desk) -> None:
    """Highest priority first; ties by action id."""
    for place, (name, priority) in enumerate((("b", 2.0), ("c", 9.0), ("a", 2.0))):
        await desk.action(name, priority=priority, offset=place)
    assert [one["action"] for one in await actions(desk)] == ["c", "a", "b"]


async def test_actions_of_a_channel_and_a_place(desk: Desk) -> None:
    """Both narrow the list; what is asked for and not there gives an empty one."""
    await desk.action("a", placement="home-hero", offset=1)
    await desk.action("b", channel="TELEPHONY", offset=2)
    await desk.action("c", offset=3)
    assert [one["action"] for one in await actions(desk, "?placement=home-hero")] == ["a"]
    assert [one["action"] for one in await actions(desk, "?channel=TELEPHONY")] == ["b"]
    assert [one["action"] for one in await actions(desk, "?channel=E_COMMERCE&placement=home-hero")] == ["a"]
    assert await actions(desk, "?channel=OUTLET") == []


async def test_what_is_over_is_not_current(desk: Desk) -> None:
    """Past its validity, or accepted by the customer: nothing is left of it to do."""
    await desk.action("expired", valid_until=NOW_MS - 1, offset=1)
    await desk.action("answered", offset=2)
    await desk.action("current", valid_until=NOW_MS + HOUR_MS, offset=3)
    await desk.state(made={"answered": accepted("answered")})
    assert [one["action"] for one in await actions(desk)] == ["current"]


async def test_a_stale_view_holds_marketing(desk: Desk) -> None:
    """Fail closed: the answer says so, marketing is held, what is no marketing is not."""
    await desk.action("offer", offset=1)
    await desk.action("receipt", action_class="TRANSACTIONAL", offset=2)
    assert [one["held"] for one in await actions(desk)] == [False, False]
    await desk.marks(age_seconds=11)
    answer = models.Actions.model_validate_json((await desk.get(f"{ME}/actions")).text)
    assert answer.stale
    assert len(answer.freshness.stale_because) == 3
    found = {one.action: (one.held, [reason.value for reason in one.held_because]) for one in answer.actions}
    assert found == {"offer": (True, ["STALE"]), "receipt": (False, [])}


async def test_one_stale_source_is_enough(desk: Desk) -> None:
    """States that are fresh help nothing while suppressions may be lacking."""
    await desk.action("offer")
    known = await desk.store.marks(desk.generation)
    mark = json.loads(known["suppressions/0"])
    from agents.view import Mark

    old = Mark(mark["next"], shown_ms=NOW_MS - 60_000)
    await desk.store.mark(desk.generation, "suppressions/0", old, known["suppressions/0"])
    answer = models.Actions.model_validate_json((await desk.get(f"{ME}/actions")).text)
    assert answer.freshness.stale_because == ["suppressions/0 was last known to be applied to its end 60.0 s ago"]
    assert answer.actions[0].held


async def test_a_clock_that_was_set_back_is_stale(desk: Desk) -> None:
    """A view that claims to be whole in the future proves nothing."""
    await desk.action("offer")
    await desk.marks(age_seconds=-60)
    (action,) = await actions(desk)
    assert action["held_because"] == ["STALE"]


@pytest.mark.parametrize(
    ("scope", "is_held"),
    [
        ({"scope_kind": "CLASS", "scope": "MARKETING"}, True),
        ({"scope_kind": "CLASS", "scope": "SERVICE"}, False),
        ({"scope_kind": "CHANNEL", "scope": "E_COMMERCE"}, True),
        ({"scope_kind": "CHANNEL", "scope": "TELEPHONY"}, False),
        ({"scope_kind": "OFFER", "scope": "offer"}, True),
        ({"scope_kind": "OFFER", "scope": "other"}, False),
        ({"scope_kind": "ALL", "scope": ""}, True),
    ],
)
async def test_a_suppression_holds_what_it_covers(desk: Desk, scope: dict[str, str], is_held: bool) -> None:
    """Also before the recall of the action has come; a scope that covers everything, too."""
    await desk.action("offer")
    await desk.hold(**scope)
    (action,) = await actions(desk)
    assert action["held_because"] == (["SUPPRESSED"] if is_held else [])


async def test_a_suppression_that_only_the_state_knows(desk: Desk) -> None:
    """Its topic keeps records for a month; the state tells of it as long as it lasts."""
    await desk.action("offer")
    await desk.state(hold=held("d1"))
    assert await suppressions(desk) == ["hold-of-state"]
    (action,) = await actions(desk)
    assert action["held_because"] == ["SUPPRESSED"]


async def test_a_lift_that_is_newer_than_the_state(desk: Desk) -> None:
    """The state of before the lift does not bring the suppression back."""
    await desk.state(fence=10, hold=held("d1"))
    await desk.hold("hold-of-state", offset=9)
    assert await suppressions(desk) == ["hold-of-state"]
    await desk.hold("hold-of-state", offset=11, lifted=True)
    assert await suppressions(desk) == []


async def test_a_customer_of_whom_only_an_action_is_known_yet(desk: Desk) -> None:
    """Outputs come a moment before the state: the state is null then, and the action is there."""
    await desk.action("a")
    found = models.Customer.model_validate_json((await desk.get(ME)).text)
    assert found.state is None
    assert [one.action for one in found.actions] == ["a"]


async def test_one_round_trip_a_request(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command to Redis for each answer, also for the first one after a rebuild has switched."""
    import redis.asyncio.connection as library

    trips = 0
    send = library.AbstractConnection.send_packed_command

    async def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal trips
        trips += 1
        return await send(self, *arguments, **options)

    await desk.state()
    await desk.get(ME)
    monkeypatch.setattr(library.AbstractConnection, "send_packed_command", counted)
    for path in (ME, f"{ME}/actions", f"{ME}/suppressions", "/readyz"):
        trips = 0
        assert (await desk.get(path)).status_code == 200
        assert trips == 1, path
    other = await desk.store.start_building()
    assert other is not None
    await desk.store.switch(other)
    trips = 0
    assert (await desk.get(ME)).status_code == 503
    assert trips == 1
