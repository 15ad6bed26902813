"""Whether an interaction has a personal block in the clear: told from its bytes as decoding tells it."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import personal, versions
from schemas.codec import EMBEDDED, encode, fingerprint_of
from schemas.compiled import compile_skipper
from schemas.errors import MalformedMessage
from tests.schemas.strategies import records

INTERACTION: Any = versions.CURRENT["Interaction"]
CURRENT = fingerprint_of("Interaction")
EMPTY_BLOCK = {
    "type": "",
    "event_id": "",
    "occurred_at": 0,
    "channel": "OTHER",
    "source": "",
    "touchpoint": "",
    "amount_minor": None,
    "currency": "",
    "reference": None,
    "decision_id": None,
    "attributes": {},
    "personal": {"identifiers": {}, "fields": {}},
}


@given(records(INTERACTION))
def test_absence_is_told_exactly(record: dict[str, Any]) -> None:
    """Of a sound record it is told whether there is a block, and whether that stands in the clear."""
    value = encode("Interaction", record)
    block = record["personal"]
    assert personal.surely_absent(value, CURRENT) == (block is None)
    clear = block is not None and "ciphertext" not in block
    assert personal.in_the_clear(EMBEDDED, value, CURRENT) == personal.is_clear(block) == clear


@given(records(INTERACTION), st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 6))
@example(EMPTY_BLOCK, 10_000, b"", 1)
def test_no_spoilt_bytes_hide_a_block(record: dict[str, Any], at: int, put: bytes, over: int) -> None:
    """Whatever is put in the place of some bytes: where absence is told, the decoder finds no block."""
    value = encode("Interaction", record)
    at = 5 + at % (len(value) - 4)
    spoilt = value[:at] + put + value[at + over :]
    if personal.surely_absent(spoilt, CURRENT):
        try:
            found = EMBEDDED.decode(spoilt)
        except MalformedMessage:
            return
        assert found["personal"] is None


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_trouble(body: bytes) -> None:
    """The answer is yes or no, never an error."""
    assert personal.surely_absent(b"\0\0\0\0\1" + body, CURRENT) in (True, False)


def test_of_another_schema_nothing_is_told() -> None:
    """Where `personal` need not be the last field, only decoding tells."""
    value = encode("Control", {"body": {"time": 0}})
    assert not personal.surely_absent(value + b"\0", fingerprint_of("Control"))


def test_the_skipper_says_what_it_cannot_skip() -> None:
    """A schema with other types is refused when it is compiled."""
    schema = {"fields": [{"name": "a", "type": {"type": "array", "items": "long"}}, {"name": "b", "type": "null"}]}
    with pytest.raises(ValueError, match="array is not supported"):
        compile_skipper(schema)
    with pytest.raises(ValueError, match="float is not supported"):
        compile_skipper({"fields": [{"name": "a", "type": "float"}, {"name": "b", "type": "null"}]})
