"""No sequence of valid events makes a state too large: every field at its worst, all at once."""

from typing import Any

from schemas.vocabulary import Channel, EventType, Outcome, Purpose
from schemas.zones import ZONES
from streams.contacts import KEPT_ATTRIBUTES, LONGEST_TEXTS
from streams.customer import (
    CLOSED_CASES,
    DAYS_KEPT,
    EVIDENCE,
    HELD,
    LONGEST_REFERENCE,
    MADE,
    OPEN_CASES,
    PROPOSALS,
    QUEUED,
    RECENT_CONTACTS,
    RECENT_IDS,
    SEEN,
)
from streams.partition import PARTITION_KEY
from streams.step import UNDECLARED_TYPES
from tests.streams.journal import ANN, DAY, START, Journal, Output, Record, Table, pack

MOST_BYTES = 390_000
"""The engine refuses states above agents.topology.LARGEST_STATE bytes, 400,000."""

ORIGINS = 1_000
"""Partitions of interactions that feed one journal partition; operators make them, no sender does."""

LONGEST_ID = 64
"""The reader of packs refuses longer ids."""

LARGE = 2**62
CART = "\U0001f6d2"
"""A character of four bytes."""


class Heavy(Journal):
    """A journal at offsets that take nine bytes, that remembers how large its states ever were."""

    def __init__(self) -> None:
        self.largest: dict[bytes, int] = {}
        super().__init__(None, None)
        self.table = Scale(self.largest)
        self._origin = LARGE

    def fold(self, record: Record) -> list[Output]:
        return super().fold(record._replace(offset=record.offset + LARGE))


class Scale(Table):
    """A table that weighs what is set."""

    def __init__(self, largest: dict[bytes, int]) -> None:
        super().__init__()
        self._largest = largest

    def set(self, key: bytes, value: Any) -> None:
        super().set(key, value)
        self._largest[key] = max(self._largest.get(key, 0), len(self.rest[key]))


def long_id(start: str, length: int = LONGEST_ID) -> str:
    """Return an id of that length."""
    return start.ljust(length, "x")


def heavy_pack(prefix: str) -> bytes:
    """Return a pack that fills a queue at once: mandatory actions, and one more that wins."""
    actions = []
    for number in range(QUEUED):
        treatment = {"id": long_id(f"t-{prefix}-{number}-"), "channel": "DIRECT_MARKETING"}
        fields = {"class": "mandatory", "repeat_after": "365d", "validity": "365d", "treatments": [treatment]}
        words = {"issue": long_id("i"), "group": long_id("g")}
        actions.append({"id": long_id(f"{prefix}-{number}-"), **fields, **words})
    actions[0]["class"] = "transactional"
    last = {"id": long_id(f"t-z{prefix}"), "channel": "DIRECT_MARKETING"}
    winner = {"id": long_id(f"z{prefix}"), "class": "mandatory", "repeat_after": "365d", "treatments": [last]}
    return pack(*actions, winner)


def fill_consents_and_channels(journal: Journal) -> None:
    for purpose in Purpose:
        for channel in (*Channel, None):
            attributes = {"purpose": purpose.value} | ({"channel": channel.value} if channel else {})
            fields = {"channel": (channel or Channel.OTHER).value, "attributes": attributes}
            journal.interact("consent.given", occurred_at=START, **fields)


def fill_queue_and_proposals(journal: Journal) -> None:
    """Propose as much as can wait, have it dispatched, propose other things, and so on."""
    currency = CART * 500
    for turn in range(PROPOSALS // QUEUED + 1):
        for decision in list(journal.customer().queue):
            journal.interact("message.sent", decision_id=decision, occurred_at=START)
        journal.activate("POLICY", heavy_pack(f"p{turn}-{len(journal.records)}"), sequence=len(journal.records))
        journal.interact("purchase.made", amount_minor=10**12, currency=currency, occurred_at=START)


def fill_cases_and_evidence(journal: Journal) -> None:
    """Close as many cases as are remembered, open as many disputes as there may be; all ahead of the clock."""
    journal.tick(START)
    for number in range(CLOSED_CASES + 1 + OPEN_CASES):
        type_ = "bill.disputed" if number > CLOSED_CASES else "dispute.resolved"
        fields = {"event_id": f"{number:03d}".ljust(LONGEST_REFERENCE), "occurred_at": START + DAY}
        journal.interact(type_, reference=f"{number:03d}" + CART * (LONGEST_REFERENCE // 4 - 1), **fields)


def fill_types_and_answers(journal: Journal) -> None:
    """Let every declared type happen on every day that is kept, and every contact have all that it may have."""
    journal.interact("profile.changed", occurred_at=START, attributes={"zone": max(ZONES, key=len)})
    ann = journal.customer()
    for kind in EventType:
        row = [LARGE, START]
        for day in range(DAYS_KEPT):
            row += (START // DAY + day - DAYS_KEPT, LARGE, LARGE)
        ann.types[kind.value] = row
    for made in ann.made.values():
        made.seen = [LARGE] * SEEN
        made.delivered_ms = made.outcome_ms = made.valid_until_ms = LARGE
        made.outcome = max(Outcome, key=len).value
    ann.held = [LARGE] * 2 * HELD
    journal.table.set(ANN.encode(), ann)


def fill_contacts(journal: Journal) -> None:
    """Bring as many contacts as are kept whole, each with the longest texts and the most attributes."""
    keys = [chr(number) for number in range(128)]
    keys += [first + second for first in keys for second in keys][: (KEPT_ATTRIBUTES - len(keys)) // 2]
    for number in range(RECENT_IDS):
        event_id = f"w{number}".ljust(4)
        touchpoint = CART * ((LONGEST_TEXTS - len("testcall.made") - len(event_id)) // 4)
        fields = {"touchpoint": touchpoint, "channel": "DIRECT_MARKETING", "amount_minor": LARGE}
        fields |= {"attributes": dict.fromkeys(keys, "")}
        journal.interact("call.made", event_id=event_id, occurred_at=START + DAY, **fields)


def test_the_largest_customer() -> None:
    """With every field as full as it gets a customer stays below the limit, and goes on being folded."""
    journal = Heavy()
    fill_consents_and_channels(journal)
    fill_queue_and_proposals(journal)
    fill_cases_and_evidence(journal)
    fill_types_and_answers(journal)
    fill_contacts(journal)
    ann = journal.customer()
    assert len(ann.consents) == len(Purpose) * (len(Channel) + 1)
    assert len(ann.contacts) == len(Channel)
    assert len(ann.queue) == QUEUED + 1
    assert len(ann.proposals) == PROPOSALS
    assert len(ann.cases) == CLOSED_CASES + OPEN_CASES
    assert ann.hold is not None
    assert len(ann.hold.evidence) == EVIDENCE
    assert len(ann.recent) == RECENT_CONTACTS
    assert all(len(contact) > LONGEST_TEXTS + KEPT_ATTRIBUTES for contact in ann.recent)
    assert len(ann.made) == MADE
    assert len(ann.types) == len(EventType)
    assert 300_000 < journal.largest[ANN.encode()] < MOST_BYTES
    journal.interact("dispute.resolved", reference=next(reversed(ann.cases)), occurred_at=START + DAY)
    journal.interact("purchase.made", amount_minor=1, occurred_at=START + DAY)
    assert journal.largest[ANN.encode()] < MOST_BYTES


def test_the_largest_partition() -> None:
    """With many origins and with names that nobody declared, of any length, a partition stays below the limit."""
    journal = Heavy()
    for number in range(UNDECLARED_TYPES + 10):
        journal.interact(chr(0x1F300 + number) * 500, occurred_at=START)
    for number in range(ORIGINS):
        journal.watermark(number, START, ORIGINS, LARGE + DAY)
    state = journal.state()
    assert len(state.undeclared) == UNDECLARED_TYPES + 1
    assert (len(state.marks), len(state.watermarks), state.clock_ms) == (ORIGINS, ORIGINS, START)
    assert 80_000 < journal.largest[PARTITION_KEY] < MOST_BYTES
