"""Typed records: the same data as the plain dicts, with types."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import records, versions
from schemas.errors import InvalidRecord, MalformedMessage
from schemas.records import (
    Activation,
    Control,
    EncryptedData,
    Interaction,
    Message,
    PersonalData,
    Split,
    Tick,
    Watermark,
)
from schemas.vocabulary import Channel, DocumentKind
from tests.schemas.strategies import records as drawn_records

NAMES = sorted(versions.CURRENT)
ANY_RECORD = st.one_of([st.tuples(st.just(name), drawn_records(versions.CURRENT[name])) for name in NAMES])


@given(ANY_RECORD)
def test_a_typed_record_loses_nothing(drawn: tuple[str, dict[str, Any]]) -> None:
    """From any dict of the schema to the typed record and back; it is encoded to the same bytes."""
    name, record = drawn
    typed: Message = getattr(records, name).from_dict(record)
    assert typed.to_dict() == record
    assert type(typed).decode(typed.encode()) == typed


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_those_of_the_schema(name: str) -> None:
    """The same names in the same order; what has a default there has one here."""
    typed = getattr(records, name)
    assert [f.name for f in dataclasses.fields(typed)] == [f["name"] for f in versions.CURRENT[name]["fields"]]
    for ours, theirs in zip(dataclasses.fields(typed), versions.CURRENT[name]["fields"], strict=True):
        missing = ours.default is dataclasses.MISSING and ours.default_factory is dataclasses.MISSING
        assert missing == ("default" not in theirs), ours.name


@pytest.mark.parametrize(
    "body",
    [
        Tick(time=5),
        Watermark(time=5, partitions=6),
        Split(split_to=12, cut=7),
        Activation(
            kind=DocumentKind.MODEL, name="m", version="1", sha256="ab", sequence=7, approved_by="ann", approved_at=5
        ),
    ],
)
def test_each_control_record_comes_back_as_its_type(body: Any) -> None:
    """The union is told apart by its fields."""
    assert Control.decode(Control(body).encode()).body == body


def test_both_personal_blocks_come_back_as_their_types() -> None:
    """In the clear and encrypted."""
    for block in (
        PersonalData(identifiers={"email": "x"}),
        EncryptedData(key_id="k", nonce=b"n" * 12, ciphertext=b"c"),
    ):
        event = Interaction(type="visit.made", event_id="1", occurred_at=5, channel=Channel.OUTLET, personal=block)
        assert Interaction.decode(event.encode()).personal == block


def test_what_is_wrong_is_refused() -> None:
    """Another message, a dict of another record, a value of a wrong type."""
    with pytest.raises(MalformedMessage, match="expected a Interaction"):
        Interaction.decode(Control(Tick(time=5)).encode())
    with pytest.raises(KeyError):
        Interaction.from_dict({"type": "x"})
    with pytest.raises(ValueError, match="none of Tick, Watermark, Activation"):
        Control.from_dict({"body": {"time": 5, "date": 6}})
    with pytest.raises(InvalidRecord, match="occurred_at"):
        Interaction(type="x", event_id="1", occurred_at="yesterday").encode()  # type: ignore[arg-type]


def test_records_are_frozen_and_slotted() -> None:
    """Nobody changes a message after it was read, or adds to it."""
    event = Interaction(type="x", event_id="1", occurred_at=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.type = "y"  # type: ignore[misc]
    assert not hasattr(event, "__dict__")
