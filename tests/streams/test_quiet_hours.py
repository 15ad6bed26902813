"""Quiet hours are the customer's own, and end the validity of what would go out in them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contact_policy import QuietHours
from schemas.vocabulary import Weekday
from schemas.zones import zone
from streams import local_time
from tests.streams.journal import DAY, START, Journal, Output, pack

MINUTE = 60_000
NIGHT = {"id": "night", "from": "21:00", "to": "08:00", "channels": ["E_COMMERCE"]}
EMAIL = [{"id": "e", "channel": "E_COMMERCE"}]
BOTH = [*EMAIL, {"id": "l", "channel": "DIRECT_MARKETING"}]
BERLIN = ("Europe/Berlin",)


def quiet(*rules: dict[str, Any], zones: tuple[str, ...] = BERLIN, home: str | None = "UTC", **fields: Any) -> Journal:
    """Return a journal with a pack of one action and these quiet hours; Ann lives in `home`."""
    plain = json.loads(pack({"id": "offer", "treatments": EMAIL, **fields}))
    plain |= {"quiet_hours": list(rules), "zones": list(zones)}
    journal = Journal(json.dumps(plain).encode())
    journal.interact("consent.given", attributes={"purpose": "marketing"}, occurred_at=START - 1)
    if home is not None:
        journal.interact("profile.changed", attributes={"zone": home}, occurred_at=START - 1)
    return journal


def at(text: str) -> int:
    """Return a time of the first of March 2017 (a Wednesday) or of another day, UTC."""
    text = text if "-" in text else f"2017-03-01 {text}"
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def buy(journal: Journal, time: str) -> Output:
    return journal.interact("purchase.made", occurred_at=at(time), amount_minor=1)[-1]


@pytest.mark.parametrize(("time", "open_"), [("07:59", False), ("08:00", True), ("20:59", True), ("21:00", False)])
def test_quiet_hours_go_over_midnight(time: str, *, open_: bool) -> None:
    """From the first minute to the last, and not a minute longer."""
    output = buy(quiet(NIGHT), time)
    assert (output.body["reason"] == "SELECTED") is open_
    assert output.body["reason"] in ("SELECTED", "QUIET_HOURS")


def test_what_is_proposed_expires_before_quiet_hours_begin() -> None:
    """A channel that keeps the validity keeps quiet hours too; a channel without them has the whole validity."""
    output = buy(quiet(NIGHT), "20:00")
    assert output.body["valid_until"] == at("21:00") - 1
    output = buy(quiet(NIGHT, treatments=BOTH), "22:00")
    assert output.body["channel"] == "DIRECT_MARKETING"
    assert output.body["valid_until"] == at("22:00") + 7 * DAY


def test_quiet_hours_are_where_the_customer_lives() -> None:
    """At eight in the evening UTC it is morning in Tokyo and night in Berlin."""
    assert buy(quiet(NIGHT, home="Asia/Tokyo"), "23:30").body["reason"] == "SELECTED"
    assert buy(quiet(NIGHT, home="Europe/Berlin"), "20:30").body["reason"] == "QUIET_HOURS"


def test_an_unknown_zone_means_quiet_wherever_it_is_quiet() -> None:
    """Of the zones that the policy declares the strictest counts, for the beginning too."""
    zones = ("Asia/Tokyo", "Europe/Berlin")
    assert buy(quiet(NIGHT, zones=zones, home=None), "15:00").body["reason"] == "QUIET_HOURS"  # midnight in Tokyo
    output = buy(quiet(NIGHT, zones=zones, home=None), "10:00")
    assert output.body["valid_until"] == at("12:00") - 1


def test_whole_days_can_be_quiet() -> None:
    """A rule of equal times lasts 24 hours from the days that it names."""
    sunday = {"id": "sunday", "from": "00:00", "to": "00:00", "days": ["sun"]}
    assert buy(quiet(sunday), "2017-03-04 23:59").body["valid_until"] == at("2017-03-05 00:00") - 1
    assert buy(quiet(sunday), "2017-03-05 12:00").body["reason"] == "QUIET_HOURS"
    assert buy(quiet(sunday), "2017-03-06 00:00").body["reason"] == "SELECTED"


def test_transactional_messages_are_held_only_where_the_rule_says_so() -> None:
    """By default quiet hours are for service and marketing."""
    assert buy(quiet(NIGHT, **{"class": "transactional"}), "22:00").body["reason"] == "SELECTED"
    rule = NIGHT | {"classes": ["transactional"]}
    assert buy(quiet(rule, **{"class": "transactional"}), "22:00").body["reason"] == "QUIET_HOURS"


def test_a_move_to_another_zone_recalls_what_would_go_out_at_night_there() -> None:
    """What waits is looked at again: in Tokyo the evening comes before the action expires."""
    journal = quiet(NIGHT)
    assert buy(journal, "09:00").body["reason"] == "SELECTED"
    outputs = journal.interact("profile.changed", attributes={"zone": "Asia/Tokyo"}, occurred_at=at("10:00"))
    assert [(output.body["kind"], output.body["reason"]) for output in outputs] == [("RECALLED", "QUIET_HOURS")]


def test_a_zone_that_does_not_exist_is_refused_and_the_newest_word_counts() -> None:
    """Zones come in any order; one that nobody knows is a bad event with the remedy."""
    journal = quiet(NIGHT, home=None)
    for hour, name in ((5, "Europe/Paris"), (3, "Asia/Tokyo"), (6, "")):
        journal.interact("profile.changed", attributes={"zone": name}, occurred_at=START + hour * 60 * MINUTE)
        if hour == 3:
            assert journal.customer().zone == "Europe/Paris"
    assert journal.customer().zone == ""
    with pytest.raises(ValueError, match="'Berlin', which is no IANA time zone; send one such as Europe/Berlin"):
        journal.interact("profile.changed", attributes={"zone": "Berlin"})


rules = st.builds(
    QuietHours,
    id=st.just("q"),
    start=st.integers(0, 1439),
    until=st.integers(0, 1439),
    days=st.lists(st.sampled_from(Weekday), unique=True, min_size=1).map(tuple),
)
places = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"])


@given(rules, places, st.integers(at("2017-01-01 00:00"), at("2018-01-01 00:00")))
def test_between_now_and_the_next_beginning_it_is_not_quiet(rule: QuietHours, name: str, now: int) -> None:
    """The next beginning is the first: nothing before it is quiet, and it is quiet then; also where clocks change."""
    there = (zone(name),)
    begins = local_time.next_quiet(rule, there, now)
    assert now < begins <= now + 8 * DAY + 2 * 60 * MINUTE
    if not local_time.is_quiet(rule, there, now):
        step = max(MINUTE, (begins - now) // 50)
        assert not any(local_time.is_quiet(rule, there, moment) for moment in range(now, begins - MINUTE, step))
