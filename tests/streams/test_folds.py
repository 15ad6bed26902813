"""What single events mean."""

import itertools

import pytest

from schemas.vocabulary import EventType
from streams import contacts
from streams.errors import BadEvent
from streams.fold import HANDLERS
from tests.streams.journal import ANN, DAY, START, Journal, interaction


def test_a_purchase_adds_to_recency_frequency_money_and_its_channel() -> None:
    """Purchases count, sum up, and set the newest time; the channel counts every contact."""
    journal = Journal()
    for day, amount in ((0, 1000), (3, 2500), (1, 500)):
        journal.interact(
            "purchase.made", occurred_at=START + day * DAY, amount_minor=amount, currency="USD", channel="OUTLET"
        )
    journal.interact("page.browsed", occurred_at=START + 4 * DAY, channel="E_COMMERCE")
    ann = journal.customer()
    assert (ann.purchases, ann.spend_minor, ann.currency) == (3, 4000, "USD")
    assert (ann.first_purchase_ms, ann.last_purchase_ms) == (START, START + 3 * DAY)
    assert ann.contacts == {"OUTLET": 3, "E_COMMERCE": 1}
    assert (ann.first_seen_ms, ann.last_seen_ms, ann.events) == (START, START + 4 * DAY, 4)


def test_an_older_event_that_arrives_late_is_the_first_seen() -> None:
    """First and last seen are of event time, not of arrival."""
    journal = Journal()
    for day in (5, 2, 3):
        journal.interact("page.browsed", occurred_at=START + day * DAY)
    ann = journal.customer()
    assert (ann.first_seen_ms, ann.last_seen_ms) == (START + 2 * DAY, START + 5 * DAY)


@pytest.mark.parametrize("days", list(itertools.permutations((0, 3, 7, 10))))
def test_the_purchase_before_the_last_is_so_in_any_order(days: tuple[int, ...]) -> None:
    """First, last and last but one purchase are those by event time, in whatever order they arrive."""
    journal = Journal(None, None)
    for day in days:
        journal.interact("purchase.made", occurred_at=START + day * DAY, amount_minor=1)
    ann = journal.customer()
    found = (ann.first_purchase_ms, ann.previous_purchase_ms, ann.last_purchase_ms)
    assert found == (START, START + 7 * DAY, START + 10 * DAY)


def test_recent_contacts_are_whole_and_bounded() -> None:
    """The newest eight contacts keep how, why and when; older ones only count."""
    journal = Journal()
    for number in range(12):
        journal.interact("call.made", occurred_at=START + number, reference=f"r{number}", attributes={"why": "roaming"})
    recent = contacts.whole(journal.customer())
    assert [contact.reference for contact in recent] == [f"r{number}" for number in range(4, 12)]
    assert recent[-1].attributes == {"why": "roaming"}
    assert journal.customer().events == 12


def test_large_attributes_are_not_kept_with_the_contact() -> None:
    """A contact with large attributes is folded, and the state stays small."""
    journal = Journal()
    journal.interact("call.made", attributes={"transcript": "x" * 50_000})
    assert contacts.whole(journal.customer())[0].attributes == {}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"type_": "purchase.made"}, "no amount_minor"),
        ({"type_": "purchase.made", "amount_minor": -1}, "outside 0"),
        ({"type_": "purchase.made", "amount_minor": 10**15}, "outside 0"),
        ({"type_": "bill.disputed"}, "no reference"),
        ({"type_": "dispute.resolved", "reference": ""}, "no reference"),
        ({"type_": "consent.given"}, "no attribute purpose"),
        ({"type_": "consent.given", "attributes": {"purpose": "sales"}}, "one of service, marketing"),
        ({"type_": "consent.withdrawn", "attributes": {"channel": "FAX"}}, "attribute channel"),
        ({"type_": "call.made", "event_id": ""}, "event_id is empty"),
        ({"type_": ""}, "type or event_id is empty"),
        ({"type_": "call.made", "reference": "x" * 3000}, "at most 2048"),
        ({"type_": "call.made", "touchpoint": "\U0001f6d2" * 520}, "2\\d\\d\\d bytes, at most 2048"),
        ({"type_": "case.opened", "reference": "x" * 201}, "reference has 201 bytes, at most 200"),
        ({"type_": "case.opened", "reference": "\u00e9" * 101}, "reference has 202 bytes, at most 200"),
        ({"type_": "bill.disputed", "reference": "d1", "event_id": "x" * 201}, "event_id has 201 bytes"),
        ({"type_": "call.made", "occurred_at": 0}, "before the year 2000"),
    ],
)
def test_an_event_that_means_nothing_is_refused_and_changes_nothing(fields: dict[str, object], says: str) -> None:
    """A wrong event raises BadEvent with a reason and leaves every byte of state as it was."""
    journal = Journal()
    journal.interact("call.made")
    before = dict(journal.table.rest)
    with pytest.raises(BadEvent, match=says):
        journal.interact(**fields)  # type: ignore[arg-type]
    assert journal.table.rest == before


def test_a_second_currency_is_refused() -> None:
    """Money of two currencies is never summed."""
    journal = Journal()
    journal.interact("purchase.made", amount_minor=100, currency="USD")
    with pytest.raises(BadEvent, match="sum of two currencies"):
        journal.interact("purchase.made", amount_minor=100, currency="EUR")


def test_an_undeclared_type_is_a_contact_without_meaning_and_counted() -> None:
    """Nobody declared `fridge.opened`: it is kept, changes nothing else, and is counted by its name."""
    journal = Journal()
    for _ in range(2):
        assert journal.interact("fridge.opened", channel="OTHER") == []
    assert journal.state().undeclared == {"fridge.opened": 2}
    assert journal.customer().contacts == {"OTHER": 2}
    assert contacts.whole(journal.customer())[0].type == "fridge.opened"


def test_many_undeclared_types_do_not_grow_the_state_for_ever() -> None:
    """After a hundred names the rest is counted together."""
    journal = Journal()
    for number in range(130):
        journal.interact(f"made.up.{number}")
    counts = journal.state().undeclared
    assert len(counts) == 101
    assert counts[""] == 30


def test_undeclared_types_are_counted_by_their_beginning() -> None:
    """Names that begin alike with 64 characters count as one, so that long ones do not fill the partition's state."""
    journal = Journal()
    for end in ("a", "b"):
        journal.interact("x" * 64 + end)
    journal.interact("x" * 63)
    assert journal.state().undeclared == {"x" * 64: 2, "x" * 63: 1}
    assert contacts.whole(journal.customer())[0].type == "x" * 64 + "a"


def test_an_event_that_its_source_sends_twice_counts_once() -> None:
    """Source and event id tell a duplicate; the same id from another source is another event."""
    journal = Journal()
    for source in ("shop", "shop", "till"):
        journal.interact("purchase.made", event_id="b1", source=source, amount_minor=100)
    assert journal.customer().purchases == 2
    assert journal.customer().duplicates == 1


def test_source_and_id_do_not_run_into_each_other() -> None:
    """Pairs that read the same when they are joined are different events."""
    pairs = [("shop", "1 2"), ("shop 1", "2"), ("shop 1 2", ""), ("1:s", "hop"), ("", "1:shop"), ("1", ":shop")]
    found = {contacts.identity(interaction(source=source, event_id=id_)) for source, id_ in pairs}
    assert len(found) == len(pairs)


def test_every_handler_belongs_to_a_declared_type() -> None:
    """The screen of meanings names declared types only."""
    assert set(HANDLERS) <= {kind.value for kind in EventType}


def test_customers_do_not_touch_each_other() -> None:
    """An event changes its own customer and the partition, nobody else."""
    journal = Journal()
    journal.interact("call.made")
    before = journal.table.rest[ANN.encode()]
    journal.interact("bill.disputed", customer="f" * 32, reference="d1")
    assert journal.table.rest[ANN.encode()] == before


def test_interaction_helper_has_every_field() -> None:
    """The helper of these tests makes whole interactions."""
    assert len(interaction()) == 12
