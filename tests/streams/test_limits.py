"""Contact limits hold exactly, for persons, whatever the order of decisions, dispatches and late reports."""

import json
import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.vocabulary import Calendar
from schemas.zones import zone
from streams import local_time
from streams.customer import MADE
from tests.streams.journal import DAY, START, Journal, Output, kinds, pack

HOUR = DAY // 24
YES = {"purpose": "marketing"}


def limited(*limits: dict[str, Any], actions: int = 6, zones: tuple[str, ...] = (), **fields: Any) -> Journal:
    """Return a journal whose Ann agreed to marketing, and a pack of equal actions under these limits."""
    plain = json.loads(pack(*({"id": f"offer-{number}", **fields} for number in range(actions))))
    plain["limits"] = [{"id": f"limit-{number}", **limit} for number, limit in enumerate(limits)]
    if zones:
        plain["zones"] = list(zones)
    journal = Journal(json.dumps(plain).encode())
    journal.interact("consent.given", attributes=YES, occurred_at=START)
    return journal


def buy(journal: Journal, hours: float) -> Output:
    """Let Ann buy, so many hours after the start; return the decision, which follows what is recalled."""
    return journal.interact("purchase.made", occurred_at=START + int(hours * HOUR), amount_minor=100)[-1]


def tell(journal: Journal, kind: str, decision: Output | None, hours: float, **fields: Any) -> list[Output]:
    """Let the channel report on a decision."""
    quoted = None if decision is None else decision.body["decision_id"]
    return journal.interact(kind, decision_id=quoted, occurred_at=START + int(hours * HOUR), **fields)


def reason(output: Output) -> str:
    """Return what was decided: the action, or why the last one by its id was not proposed, which nothing else holds."""
    return output.body["action_id"] or output.body["candidates"][-1]["reason"]


def test_a_reservation_holds_its_slot_until_its_channel_says_what_became_of_it() -> None:
    """What waits counts whatever the window, what went out from then on, what was withheld or recalled no more."""
    journal = limited({"at_most": 1, "window": "1d"})
    first = buy(journal, 0)
    assert reason(first) == "offer-0"
    assert reason(buy(journal, 30)) == "CONTACT_LIMIT"  # decided more than a day ago, and still it may go out now
    tell(journal, "message.sent", first, 31)
    assert reason(buy(journal, 54)) == "CONTACT_LIMIT"  # 23 hours after it went out
    second = buy(journal, 55)
    assert reason(second) == "offer-0"
    tell(journal, "message.withheld", second, 56)
    third = buy(journal, 57)
    assert reason(third) == "offer-0"
    assert kinds(journal.interact("bill.disputed", reference="d", occurred_at=START + 58 * HOUR)) == [
        "STARTED",
        "RECALLED",
    ]
    journal.interact("dispute.resolved", reference="d", occurred_at=START + 59 * HOUR)
    assert reason(buy(journal, 60)) == "offer-0"


def test_a_bounce_gives_the_slot_back() -> None:
    """A message that reached nobody was no contact, though it had gone out."""
    journal = limited({"at_most": 1, "window": "7d"})
    first = buy(journal, 0)
    tell(journal, "message.sent", first, 1)
    assert reason(buy(journal, 2)) == "CONTACT_LIMIT"
    tell(journal, "message.bounced", first, 3)
    assert reason(buy(journal, 4)) == "offer-0"


def test_what_expired_unheard_of_counts_at_its_last_moment_until_its_channel_speaks() -> None:
    """It may have gone out in its last second; a late report says when it did, or that it did not."""
    journal = limited({"at_most": 1, "window": "7d"}, validity="1d")
    first = buy(journal, 0)
    assert reason(buy(journal, 48)) == "CONTACT_LIMIT"
    tell(journal, "message.withheld", first, 25)
    second = buy(journal, 49)
    assert reason(second) == "offer-0"
    buy(journal, 100)
    tell(journal, "message.sent", second, 50)
    assert reason(buy(journal, 50 + 7 * 24 - 1)) == "CONTACT_LIMIT"
    assert reason(buy(journal, 50 + 7 * 24)) == "offer-0"


def test_contacts_of_other_tools_count_too() -> None:
    """A campaign that nobody asked us about uses up the limit; the same of another class does not."""
    journal = limited({"at_most": 1, "window": "7d"})
    tell(journal, "message.sent", None, 0, reference="campaign-7", attributes={"class": "TRANSACTIONAL"})
    first = buy(journal, 1)
    assert reason(first) == "offer-0"
    tell(journal, "message.withheld", first, 2)
    tell(journal, "message.sent", None, 3, reference="campaign-8")
    assert reason(buy(journal, 4)) == "CONTACT_LIMIT"


def test_transactional_and_mandatory_messages_pass() -> None:
    """Limits are for service and marketing; what the law or the contract asks for is told."""
    for action_class in ("transactional", "mandatory"):
        journal = limited({"at_most": 0, "window": "7d"}, **{"class": action_class, "repeat_after": "1h"})
        assert buy(journal, 0).body["kind"] == "PROPOSED"


def test_limits_of_channels_groups_and_actions_leave_the_rest_alone() -> None:
    """A filter narrows a limit; an action with another treatment takes the channel that is open."""
    mail = {"id": "m", "channel": "DIRECT_MARKETING"}
    app = {"id": "a", "channel": "M_COMMERCE"}
    journal = limited(
        {"at_most": 0, "window": "7d", "channels": ["DIRECT_MARKETING"]}, actions=1, treatments=[mail, app]
    )
    assert buy(journal, 0).body["channel"] == "M_COMMERCE"
    journal = limited({"at_most": 0, "window": "7d", "actions": ["offer-0", "offer-1"]})
    assert reason(buy(journal, 0)) == "offer-2"
    journal = limited({"at_most": 0, "window": "7d", "groups": ["test"]})
    assert reason(buy(journal, 0)) == "CONTACT_LIMIT"


def test_displays_count_where_the_limit_says_so() -> None:
    """The first display is the contact; each further one counts with `impressions`, and only then."""
    for impressions, expected in ((False, "offer-0"), (True, "CONTACT_LIMIT")):
        journal = limited({"at_most": 3, "window": "7d", "impressions": impressions})
        first = buy(journal, 0)
        for hour in range(3):
            tell(journal, "offer.presented", first, hour + 1)
        assert reason(buy(journal, 9)) == expected


@pytest.mark.parametrize("hours", [(10, 14), (14, 10)])
def test_of_two_reports_of_a_dispatch_the_newest_counts(hours: tuple[int, int]) -> None:
    """In whatever order they come: the window begins with the last time that the customer may have been reached."""
    journal = limited({"at_most": 1, "window": "1d"})
    first = buy(journal, 0)
    tell(journal, "message.delivered", first, 20)  # what follows from it is no better than the report itself
    for hour in hours:
        tell(journal, "message.sent", first, hour)
    assert reason(buy(journal, 37)) == "CONTACT_LIMIT"
    assert reason(buy(journal, 38.1)) == "offer-0"


def test_a_calendar_day_is_the_customers() -> None:
    """The limit of a day ends at midnight where the customer lives, also on the day on which clocks change."""
    journal = limited({"at_most": 1, "calendar": "day"}, zones=("UTC",))
    journal.interact("profile.changed", occurred_at=START, attributes={"zone": "America/New_York"})
    first = buy(journal, 10)  # 05:00 in New York, 10:00 UTC
    tell(journal, "message.sent", first, 10)
    assert reason(buy(journal, 25)) == "CONTACT_LIMIT"  # the next day in UTC, 20:00 in New York
    assert reason(buy(journal, 29)) == "offer-0"  # midnight in New York


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    """START is a Wednesday, the first of March."""
    for calendar, last, open_again in (("week", 4 * 24 + 23.9, 5 * 24), ("month", 31 * 24 - 0.1, 31 * 24)):
        journal = limited({"at_most": 1, "calendar": calendar}, zones=("UTC",))
        tell(journal, "message.sent", buy(journal, 1), 1)
        assert reason(buy(journal, last)) == "CONTACT_LIMIT"
        assert reason(buy(journal, open_again)) == "offer-0"


def test_an_unknown_zone_means_the_strictest_of_those_declared() -> None:
    """A contact counts as long as it is still the same day in any zone in which the customer may live."""
    journal = limited({"at_most": 1, "calendar": "day"}, zones=("Asia/Tokyo", "America/Los_Angeles"))
    tell(journal, "message.sent", buy(journal, 9), 9)  # 18:00 in Tokyo, 01:00 in Los Angeles
    assert reason(buy(journal, 20)) == "CONTACT_LIMIT"  # tomorrow in Tokyo, noon in Los Angeles
    assert reason(buy(journal, 32)) == "offer-0"


def test_more_contacts_than_are_remembered_close_the_limit() -> None:
    """What is not known is not taken for little: with contacts forgotten within the window nothing goes out."""
    journal = limited(
        {"at_most": 1, "window": "7d", "channels": ["TELEPHONY"]},
        actions=1,
        treatments=[{"id": "call", "channel": "TELEPHONY"}],
    )
    for number in range(MADE):
        tell(journal, "message.sent", None, number / 100, channel="E_COMMERCE")
    assert reason(buy(journal, 2)) == "offer-0"
    tell(journal, "message.withheld", journal.outputs[-1], 2)
    tell(journal, "message.sent", None, 3, channel="E_COMMERCE")
    assert reason(buy(journal, 4)) == "CONTACT_LIMIT"
    assert reason(buy(journal, 8 * 24)) == "offer-0"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(Calendar),
    st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Africa/Monrovia", "Asia/Kathmandu"]),
    st.one_of(st.integers(0, 4_000_000_000_000), st.integers(1_325_238_000_000, 1_325_246_400_000)),
)
def test_a_window_begins_with_the_customers_day_week_or_month(calendar: Calendar, name: str, now: int) -> None:
    """At its first moment the calendar says so, and nothing is later than now; a day that never was begins nothing."""
    there = zone(name)
    start = local_time.window_start(calendar, [there], now)
    local = datetime.fromtimestamp(now / 1000, there)
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if calendar is Calendar.WEEK:
        first -= timedelta(days=first.weekday())
    if calendar is Calendar.MONTH:
        first = first.replace(day=1)
    assert start == round(first.timestamp() * 1000) <= now + 3_600_000
    assert local_time.window_start(calendar, [there, zone("UTC")], now) <= start


@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from(["1d", "3d", "calendar"]))
def test_no_interleaving_exceeds_a_limit(seed: int, at_most: int, window: str) -> None:
    """Decisions, dispatches at any time within validity, reports late and in any order, recalls: recounted by hand."""
    chance = random.Random(seed)
    rule = {"at_most": at_most, "calendar": "day"} if window == "calendar" else {"at_most": at_most, "window": window}
    journal = limited(rule, actions=8, zones=("UTC",), validity="2d")
    went_out: list[int] = []
    pending: list[tuple[int, str, str, int]] = []  # when its report arrives, what, of which decision, when it happened
    recalled: set[str] = set()
    now = START
    for _ in range(80):
        now += chance.randrange(1, 18 * HOUR)
        for arrives, kind, decision, at in sorted(pending):
            if arrives <= now:
                pending.remove((arrives, kind, decision, at))
                journal.interact(kind, decision_id=decision, occurred_at=at)
        kind = "consent.withdrawn" if chance.random() < 0.08 else "purchase.made"
        outputs = journal.interact(kind, occurred_at=now, amount_minor=1, attributes=YES)
        if kind == "consent.withdrawn":
            journal.interact("consent.given", occurred_at=now + 1, attributes=YES)
        recalled |= {output.body["recalls"] for output in outputs if output.body["kind"] == "RECALLED"}
        pending = [report for report in pending if report[2] not in recalled]  # its channel heard of it in time
        for output in outputs:
            if output.body["kind"] == "PROPOSED":
                at = chance.randrange(now, output.body["valid_until"])
                fate = chance.choice(["message.sent", "message.sent", "message.withheld"])
                pending.append((at + chance.randrange(5 * DAY), fate, output.body["decision_id"], at))
        went_out = sorted(
            at for at in (*_sent(journal), *(p[3] for p in pending if p[1] == "message.sent" and p[3] <= now))
        )
    assert went_out
    length = DAY if window != "3d" else 3 * DAY
    for at in went_out:
        if window == "calendar":
            inside = [other for other in went_out if other // DAY == at // DAY]
        else:
            inside = [other for other in went_out if at - length < other <= at]
        assert len(inside) <= at_most


def _sent(journal: Journal) -> list[int]:
    """Return when something went out, by what the journal says and not by any state."""
    from schemas.codec import decode_by_fingerprint

    found = []
    for record in journal.records:
        headers = dict(record.headers)
        if headers.get("attune-kind") == b"interaction":
            event = decode_by_fingerprint(headers["attune-schema"].decode(), record.value, "Interaction")
            if event["type"] == "message.sent":
                found.append(event["occurred_at"])
    return found


@pytest.mark.parametrize("at_most", [0, 1, 2])
def test_many_requests_at_once_share_the_slots(at_most: int) -> None:
    """A hundred requests at one moment yield as many offers as the limit has slots."""
    journal = limited({"at_most": at_most, "window": "1d"}, actions=8)
    decisions = [buy(journal, 1) for _ in range(100)]
    assert sum(output.body["kind"] == "PROPOSED" for output in decisions) == at_most
