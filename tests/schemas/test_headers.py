"""Composed headers: they are parsed back to what they were made of, or refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import headers
from schemas.headers import Origin, Position

NUMBER = st.integers(0, 2**63 - 1)


@given(NUMBER, NUMBER, NUMBER)
def test_origin_and_position_are_parsed_back(partition: int, offset: int, index: int) -> None:
    """What is written is read."""
    origin = Origin("crm.interactions.v1", partition, offset)
    assert Origin.parse(bytes(origin)) == origin
    position = Position(partition, offset, index)
    assert Position.parse(bytes(position)) == position


@pytest.mark.parametrize("value", [b"", b"a/b/c", b"topic/1", b"topic/1/2/3", b"/1/2", b"topic/-1/2", b"topic/1/2 "])
def test_a_garbled_origin_is_refused(value: bytes) -> None:
    """With the header's name and the form that was expected."""
    with pytest.raises(ValueError, match="attune-origin"):
        Origin.parse(value)
    with pytest.raises(ValueError, match="attune-position"):
        Position.parse(value)


@given(st.integers(0, 4_000_000_000_000))
def test_times_are_rfc_3339_to_the_millisecond(time_ms: int) -> None:
    """Read back by the standard library they are the same moment."""
    text = headers.rfc3339(time_ms)
    assert text.endswith("Z")
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo == UTC
    assert round(moment.timestamp() * 1000) == time_ms


TRACE_ID, SPAN_ID = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (b"00-" + TRACE_ID + b"-" + SPAN_ID + b"-01", True),
        (b"00-" + TRACE_ID + b"-" + SPAN_ID + b"-01-what", False),
        (b"00-" + TRACE_ID + b"-" + SPAN_ID + b"-01-", False),
        (b"cc-" + TRACE_ID + b"-" + SPAN_ID + b"-01", True),
        (b"cc-" + TRACE_ID + b"-" + SPAN_ID + b"-01-what", True),
        (b"cc-" + TRACE_ID + b"-" + SPAN_ID + b"-01.what", False),
        (b"cc-" + TRACE_ID + b"-" + SPAN_ID + b"-01-" + b"x" * 72, True),
        (b"cc-" + TRACE_ID + b"-" + SPAN_ID + b"-01-" + b"x" * 73, False),
        (b"cc-" + TRACE_ID + b"-" + SPAN_ID + b"-01-a\nb", False),
        (b"ff-" + TRACE_ID + b"-" + SPAN_ID + b"-01", False),
        (b"00-" + b"0" * 32 + b"-" + SPAN_ID + b"-01", False),
        (b"00-" + TRACE_ID + b"-" + b"0" * 16 + b"-01", False),
        (b"00-" + TRACE_ID.upper() + b"-" + SPAN_ID + b"-01", False),
        (b"00-" + TRACE_ID + b"-" + SPAN_ID + b"-01\n", False),
        (b"00-" + TRACE_ID + b"-" + SPAN_ID, False),
        (b"", False),
    ],
)
def test_a_trace_context_is_known_by_the_rule_of_w3c(value: bytes, valid: bool) -> None:
    """Version 00 has 55 characters, a later one those or more, up to 128; ff, zeros and capitals are invalid."""
    assert headers.is_traceparent(value) == valid
    assert headers.passed_on([(headers.TRACEPARENT, value)]) == ([(headers.TRACEPARENT, value)] if valid else [])


def test_what_is_passed_on_is_known_and_not_null() -> None:
    """Own headers may hold anything, and a null header is an absent one."""
    given_ = [(headers.ID, b"1"), ("own", b"x"), (headers.SOURCE, None), (headers.SUBJECT, b"email:a@example.org")]
    assert headers.passed_on(given_) == [(headers.ID, b"1")]
    assert headers.first([(headers.ID, None), (headers.ID, b"2")], headers.ID) == b"2"
    assert headers.first([(headers.ID, None)], headers.ID) is None
    assert headers.size_of([("é", None), ("ab", b"c")]) == 5


def test_a_time_before_1970_is_written_too() -> None:
    """The milliseconds count forward from the second before."""
    assert headers.rfc3339(-1) == "1969-12-31T23:59:59.999Z"


def test_cloud_event_headers_are_complete() -> None:
    """The required attributes and the content type are there, subject and traceparent only when given."""
    made = headers.cloud_event(event_id="1", ce_type="attune.watermark", source="/x", time_ms=0)
    assert dict(made) == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_type": b"attune.watermark",
        "ce_source": b"/x",
        "ce_time": b"1970-01-01T00:00:00.000Z",
        "content-type": b"application/avro",
    }
    more = headers.cloud_event(
        event_id="1", ce_type="t", source="/x", time_ms=0, subject="ab", traceparent=b"00-0af7-b7ad-01"
    )
    assert headers.first(more, headers.SUBJECT) == b"ab"
    assert headers.first(more, headers.TRACEPARENT) == b"00-0af7-b7ad-01"
    assert headers.first(more, "nothing") is None
