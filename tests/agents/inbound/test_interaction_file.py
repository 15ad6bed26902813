"""A file of interactions: what a good line gives, and what is said of a bad one."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.inbound import interaction_fields, interaction_file
from agents.inbound.interaction_line import MAX_MESSAGE_BYTES, BadLine, parse
from agents.journal.router import Router
from schemas import versions
from schemas.codec import EMBEDDED

AT = "2026-01-31T09:15:00Z"
AT_MS = int(datetime(2026, 1, 31, 9, 15, tzinfo=UTC).timestamp() * 1000)
LATEST_MS = AT_MS + 86_400_000


def line(**fields: Any) -> bytes:
    """Return a line that is good but for `fields`; None takes a field out."""
    plain = {"key": "loyalty:4711", "type": "visit.made", "event_id": "e1", "occurred_at": AT, **fields}
    return json.dumps({name: value for name, value in plain.items() if value is not ...}).encode()


def faults(raw: bytes) -> list[tuple[str | None, str]]:
    """Return field and message of all that is wrong."""
    with pytest.raises(BadLine) as caught:
        parse(raw, 7, latest_ms=LATEST_MS)
    assert {fault.line for fault in caught.value.faults} == {7}
    return [(fault.field, fault.message) for fault in caught.value.faults]


def test_what_a_line_leaves_out_has_the_schemas_default() -> None:
    """The least that a line must say gives a whole Interaction, which the codec takes."""
    key, event = parse(line(), 1)
    assert key == "loyalty:4711"
    assert event == {
        "type": "visit.made",
        "event_id": "e1",
        "occurred_at": AT_MS,
        "channel": "OTHER",
        "source": "",
        "touchpoint": "",
        "amount_minor": None,
        "currency": "",
        "reference": None,
        "decision_id": None,
        "attributes": {},
        "personal": None,
    }
    assert EMBEDDED.decode(EMBEDDED.encode("Interaction", event)) == event


def test_every_field_of_the_schema_can_be_given() -> None:
    """A line with all fields comes through as it is, and the module knows each field of the schema."""
    whole = {
        "channel": "OUTLET",
        "source": "till",
        "touchpoint": "store-1",
        "amount_minor": -5,
        "currency": "EUR",
        "reference": "r",
        "decision_id": "d",
        "attributes": {"a": "b"},
        "personal": {"identifiers": {"email": "a@example.invalid"}, "fields": {}},
    }
    _, event = parse(line(**whole), 1)
    assert {name: event[name] for name in whole} == whole
    fields = {field["name"] for field in versions.CURRENT["Interaction"]["fields"]}
    assert set(interaction_fields.CHECKS) | {"occurred_at"} == fields | {"key"}
    assert parse(line(personal={"fields": {"name": "A"}}), 1)[1]["personal"] == {
        "identifiers": {},
        "fields": {"name": "A"},
    }


@pytest.mark.parametrize(
    "written", [AT_MS, AT, "2026-01-31T10:15:00+01:00", "2026-01-31T09:15:00.000+00:00", "20260131T091500Z"]
)
def test_a_time_is_milliseconds_or_iso_8601(written: object) -> None:
    """Both forms name the same moment; a zone other than UTC is converted."""
    assert parse(line(occurred_at=written), 1)[1]["occurred_at"] == AT_MS


def test_the_key_may_be_a_surrogate() -> None:
    """One who knows only the surrogate publishes under it."""
    assert parse(line(key="attune:" + "0a" * 16), 1)[0] == "attune:" + "0a" * 16


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"key": ...}, "key", "missing: `namespace:value`"),
        ({"type": ...}, "type", "missing: text such as purchase.made"),
        ({"event_id": ...}, "event_id", "missing: text that tells this event"),
        ({"occurred_at": ...}, "occurred_at", "missing: ISO 8601"),
        ({"key": "4711"}, "key", "expected `namespace:value`"),
        ({"key": "attune:4711"}, "key", "32 hex digits"),
        ({"key": 4711}, "key", "got a number"),
        ({"type": ""}, "type", "got empty text"),
        ({"event_id": 3}, "event_id", "got a number"),
        ({"chanel": "OUTLET"}, "chanel", "no such field; did you mean channel?"),
        ({"\x1b[2J\ud800": 1}, "'\\x1b[2J\\ud800'", "no such field"),
        ({"attributes": {"\n": 1}}, "attributes.'\\n'", "expected text"),
        ({"xyz": 1}, "xyz", "no such field; there are key, type, event_id"),
        ({"channel": "OUTLETS"}, "channel", "expected one of SALES_FORCE, .*; did you mean OUTLET?"),
        ({"channel": "outlet"}, "channel", "did you mean OUTLET?"),
        ({"channel": None}, "channel", "got null"),
        ({"amount_minor": 12.5}, "amount_minor", "whole number of minor units"),
        ({"amount_minor": True}, "amount_minor", "got true or false"),
        ({"amount_minor": 1 << 63}, "amount_minor", "whole number of minor units"),
        ({"currency": None}, "currency", "expected text, got null"),
        ({"source": "\ud800"}, "source", "no Unicode"),
        ({"reference": ["a"]}, "reference", "expected text or null, got a list"),
        ({"attributes": []}, "attributes", "expected an object of texts, got a list"),
        ({"attributes": {"items": 3}}, "attributes.items", "expected text, got a number"),
        ({"personal": "x"}, "personal", "expected an object with identifiers and fields"),
        ({"personal": {"field": {}}}, "personal.field", "no such field; there are identifiers and fields"),
        ({"personal": {"fields": {"age": 3}}}, "personal.fields.age", "expected text, got a number"),
        ({"occurred_at": "yesterday"}, "occurred_at", "expected ISO 8601 text with a zone"),
        ({"occurred_at": "2026-01-31T09:15:00"}, "occurred_at", "no zone; add Z"),
        ({"occurred_at": 1.5}, "occurred_at", "got a number"),
        ({"occurred_at": "1999-12-31T23:59:59Z"}, "occurred_at", "absurd time, before the year 2000"),
        ({"occurred_at": 1_769_850_900}, "occurred_at", "it looks like seconds"),
        ({"occurred_at": LATEST_MS + 1}, "occurred_at", "absurd time, in the future"),
        ({"occurred_at": 1 << 62}, "occurred_at", "absurd time, in the future"),
        ({"type": "bill.disputed"}, None, "bill.disputed has no reference"),
        ({"type": "consent.given", "attributes": {"purpose": "fun"}}, None, "send one of service, marketing"),
        ({"type": "purchase.made"}, None, "no amount_minor"),
        ({"source": "s" * 3_000}, None, "at most 2048 are kept"),
        ({"attributes": {"a": "x" * 300_000}}, None, "the message would have 300,.* bytes"),
    ],
)
def test_what_is_wrong_is_told_with_the_field(fields: dict[str, Any], field: str | None, words: str) -> None:
    """Line, field and what is expected; what router or fold would refuse is refused here."""
    ((named, message),) = faults(line(**fields))
    assert named == field
    assert re.search(re.escape(words).replace(r"\.\*", ".*"), message), message


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"nonsense", "it is no JSON: Expecting value at column 1"),
        (b'{"key": "a:b"', "it is no JSON"),
        (b"[1]", "expected an object, got a list"),
        (b"7", "expected an object, got a number"),
        (b'{"a": "\xff"}', "it is not UTF-8"),
        (b'{"amount_minor": NaN}', "NaN is no number"),
        (b'{"key": "a:b", "key": "a:c"}', "the field 'key' stands there twice"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_no_object(raw: bytes, words: str) -> None:
    """It is told as a whole."""
    ((field, message),) = faults(raw)
    assert field is None
    assert words in message


def test_all_that_is_wrong_with_a_line_is_told_at_once() -> None:
    """Nobody corrects a line three times."""
    found = faults(line(key=..., chanel="x", occurred_at="soon", amount_minor="1"))
    assert [field for field, _ in found] == ["key", "occurred_at", "chanel", "amount_minor"]


def test_values_are_not_quoted() -> None:
    """A value may be personal, and messages end in logs."""
    secret = "ann@example.invalid"
    for name in ("key", "channel", "amount_minor", "occurred_at", "attributes", "personal"):
        assert all(secret not in message for _, message in faults(line(**{name: secret})))


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_value_of_any_field_is_taken_or_explained(value: object) -> None:
    """Whatever stands in a line, it is an interaction that the codec encodes, or a BadLine."""
    for field in versions.CURRENT["Interaction"]["fields"]:
        try:
            _, event = parse(line(**{field["name"]: value}), 1, latest_ms=LATEST_MS)
        except BadLine:
            continue
        EMBEDDED.encode("Interaction", event)


def test_the_limit_is_the_routers() -> None:
    """What is published is not dead-lettered for its size, and nothing smaller is refused."""
    assert {field.name: field.default for field in dataclasses.fields(Router)}["max_message_bytes"] == MAX_MESSAGE_BYTES
    room = MAX_MESSAGE_BYTES - len(EMBEDDED.encode("Interaction", parse(line(attributes={"a": ""}), 1)[1]))
    fits = "x" * (room - 2)  # its length takes two bytes more than that of an empty text
    assert len(EMBEDDED.encode("Interaction", parse(line(attributes={"a": fits}), 1)[1])) == MAX_MESSAGE_BYTES
    assert faults(line(attributes={"a": fits + "x"}))


def test_a_file_is_counted() -> None:
    """Good lines, bad lines, the first faults, undeclared types; empty lines and a byte order mark are passed over."""
    lines = [b"\xef\xbb\xbf" + line() + b"\n", b"\n", b"  \r\n", line(type="fridge.opened"), *[b"x\n"] * 30, line()]
    told: list[int] = []
    checked = interaction_file.check(lines, latest_ms=LATEST_MS, on_progress=told.append)
    assert (checked.good, checked.bad, checked.more_faults) == (3, 30, 10)
    assert [fault.line for fault in checked.faults] == list(range(5, 25))
    assert checked.undeclared == {"fridge.opened": 1}
    assert [event["type"] for _, event in interaction_file.items(lines)] == [
        "visit.made",
        "fridge.opened",
        "visit.made",
    ]


def test_an_undeclared_type_is_likened_to_a_declared_one() -> None:
    """A slip of the pen is seen; a word of its own is not likened to anything."""
    assert interaction_file.nearest_declared("purchase.mad") == "purchase.made"
    assert interaction_file.nearest_declared("zzzzzz") is None
