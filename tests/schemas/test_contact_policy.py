"""The parts of a pack that limit contacts: what is read, and every mistake with its place."""

from typing import Any

import pytest
import yaml

from schemas.contact_policy import ContactLimit, ContactPolicy, CoolOff, QuietHours
from schemas.policy import Aggregate, InvalidPolicy
from schemas.policy_reader import read_policy
from schemas.vocabulary import ActionClass, Calendar, Channel, CoolOffScope, EventType, Measure, Outcome, Weekday
from schemas.zones import ZONES, zone

DAY = 86_400_000

HEAD = """\
name: test
version: 1
triggers: [purchase.made]
"""
ACTIONS = """\
actions:
  - id: a
    issue: growth
    group: sale
    class: marketing
    propensity: 0.5
    value_minor: 100
    validity: 7d
    treatments: [{id: a-mail, channel: E_COMMERCE, placement: home-hero}]
"""


def read(middle: str, actions: str = ACTIONS) -> Any:
    return read_policy((HEAD + middle + actions).encode())


def faults(middle: str, actions: str = ACTIONS) -> list[str]:
    """Return all faults as text, lines counted from the beginning of `middle`."""
    with pytest.raises(InvalidPolicy) as caught:
        read(middle, actions)
    lines = len(HEAD.splitlines())
    return [f"{fault.line - lines}:{fault.column}: {fault.message}; {fault.remedy}" for fault in caught.value.faults]


def test_everything_that_can_be_said_is_read() -> None:
    """Each field lands where it belongs."""
    policy = read(
        """\
zones: [Europe/Berlin, America/New_York]
aggregates:
  - {id: visits_28d, events: [visit.made, page.browsed], measure: count, window: 4w}
  - {id: silence, events: [purchase.made], measure: days_since}
limits:
  - {id: week, at_most: 2, window: 7d}
  - {id: phone, at_most: 1, calendar: month, classes: [service, marketing], channels: [telephony], issues: [growth],
     groups: [sale], actions: [a], impressions: true}
quiet_hours:
  - {id: night, from: "21:00", to: "08:30", days: [sat, sun], classes: [transactional], channels: [E_COMMERCE]}
cool_off:
  - {id: turned-down, after: [reject, no_response], scope: group, for: 30d, response_within: 14d, classes: [service]}
"""
    )
    assert policy.contact == ContactPolicy(
        zones=("America/New_York", "Europe/Berlin"),
        limits=(
            ContactLimit(id="week", at_most=2, window_ms=7 * DAY),
            ContactLimit(
                id="phone",
                at_most=1,
                calendar=Calendar.MONTH,
                classes=(ActionClass.SERVICE, ActionClass.MARKETING),
                channels=(Channel.TELEPHONY,),
                issues=("growth",),
                groups=("sale",),
                actions=("a",),
                impressions=True,
            ),
        ),
        quiet_hours=(
            QuietHours(
                id="night",
                start=1260,
                until=510,
                days=(Weekday.SAT, Weekday.SUN),
                classes=(ActionClass.TRANSACTIONAL,),
                channels=(Channel.E_COMMERCE,),
            ),
        ),
        cool_off=(
            CoolOff(
                id="turned-down",
                after=(Outcome.REJECT, Outcome.NO_RESPONSE),
                scope=CoolOffScope.GROUP,
                rest_ms=30 * DAY,
                response_within_ms=14 * DAY,
                classes=(ActionClass.SERVICE,),
            ),
        ),
    )
    assert policy.aggregates == (
        Aggregate("silence", (EventType.PURCHASE,), Measure.DAYS_SINCE, 0),
        Aggregate("visits_28d", (EventType.VISIT, EventType.BROWSED), Measure.COUNT, 28),
    )
    assert policy.actions[0].treatments[0].placement == "home-hero"


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ("limits: [{id: w, at_most: 2}]\n", "1:10: a limit has either a window or a calendar"),
        ("limits: [{id: w, at_most: 2, window: 7d, calendar: day}]\n", "1:10: a limit has either a window"),
        ("limits: [{id: w, at_most: 101, window: 7d}]\n", "1:27: 101 is out of bounds; choose 0 to 100"),
        ("limits: [{id: w, at_most: 1, window: 93d}]\n", "1:38: 93d is out of bounds; choose 1m to 92d"),
        ("limits: [{id: w, at_most: 1, calendar: day}]\n", "1:1: local times need to know where customers live"),
        ("limits: [{id: w, at_most: 1, window: 1d, groups: [sales]}]\n", "1:51: no action of this pack has groups"),
        ("limits: [{id: w, at_most: 1, window: 1d, actions: [b]}]\n", "1:52: no action 'b'"),
        ("limits: [{id: w, at_most: 1, window: 1d, classes: [mandatory]}]\n", "1:52: 'mandatory' is not known here"),
        ("limits: [{id: w, at_most: 1, window: 1d, impressions: 7}]\n", "1:55: a whole number stands where true or"),
        ('zones: [UTC]\nquiet_hours: [{id: n, from: 21:00, to: "08:00"}]\n', "2:29: a whole number stands where a t"),
        ('zones: [UTC]\nquiet_hours: [{id: n, from: "25:00", to: "08:00"}]\n', "2:29: '25:00' is not a time of day"),
        ('zones: [UTC]\nquiet_hours: [{id: n, from: "08:00", to: "08:00"}]\n', "2:42: every hour of every day would"),
        ('quiet_hours: [{id: n, from: "21:00", to: "08:00"}]\n', "1:1: local times need to know where customers live"),
        ("zones: [Europe/Berln]\n", "1:9: 'Europe/Berln' is no time zone; did you mean Europe/Berlin?"),
        ("cool_off: [{id: c, after: [no_response], scope: action, for: 7d}]\n", "1:12: after no_response needs"),
        ("cool_off: [{id: c, after: [accept], scope: action, for: 7d}]\n", "1:28: 'accept' is not known here"),
        ("cool_off: [{id: c, after: [reject], scope: everything, for: 7d}]\n", "1:44: 'everything' is not known"),
        ("aggregates: [{id: v, events: [visit.made], measure: count}]\n", "1:14: the measure count needs a window"),
        ("aggregates: [{id: v, events: [visit.made], measure: days_since, window: 7d}]\n", "1:65: days_since has no"),
        ("aggregates: [{id: v, events: [visit.made], measure: count, window: 36h}]\n", "1:68: an aggregate's window"),
        ("aggregates: [{id: V, events: [visit.made], measure: count, window: 7d}]\n", "1:19: 'V' is not a name of s"),
        ("aggregates: [{id: v, events: [visit.mad], measure: count, window: 7d}]\n", "1:31: 'visit.mad' is not known"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_remedy(middle: str, expected: str) -> None:
    """Line and column are those of the word that is wrong."""
    found = faults(middle)
    assert any(fault.startswith(expected) for fault in found), found


def test_conditions_see_the_aggregates_of_their_pack_and_no_others() -> None:
    """A misspelt one is refused at its place, and types are checked as for any variable."""
    declared = "aggregates: [{id: visits_7d, events: [visit.made], measure: count, window: 7d}]\n"
    right = ACTIONS + "    eligibility: aggregate.visits_7d > 2\n"
    assert read(declared, right).actions[0].eligibility.variables == ("aggregate.visits_7d",)
    assert (
        "did you mean aggregate.visits_7d?"
        in faults(declared, ACTIONS + "    eligibility: aggregate.visit_7d > 2\n")[0]
    )
    assert "declare it under aggregates" in faults("", ACTIONS + "    eligibility: aggregate.visits_7d > 2\n")[0]
    assert "mixes types" in faults(declared, ACTIONS + "    eligibility: aggregate.visits_7d > 'x'\n")[0]


def test_every_zone_of_the_package_can_be_read() -> None:
    """The list of names and the files agree, and no name leads out of the package."""
    assert len(ZONES) > 500
    for name in ZONES:
        assert zone(name).key == name
    for name in ("", "../zones", "Europe", "europe/berlin"):
        with pytest.raises(KeyError):
            zone(name)


def test_yaml_is_not_read_twice_differently() -> None:
    """What PyYAML reads as a number of minutes is refused, not guessed at."""
    assert yaml.safe_load("21:00") == 1260
