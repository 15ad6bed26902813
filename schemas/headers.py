"""Names of all headers, the values of ce_type, and the few headers that hold something composed.

Header names are `str` and values `bytes`, as Kafka clients take them. CloudEvents 1.0, Kafka binary mode. A value may
also be null in Kafka: what reads headers of others takes that for an absent header.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

SPECVERSION: Final = "ce_specversion"
ID: Final = "ce_id"
TYPE: Final = "ce_type"
SOURCE: Final = "ce_source"
TIME: Final = "ce_time"
SUBJECT: Final = "ce_subject"
CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"

PERSONAL: Final = "attune-personal"
KIND: Final = "attune-kind"
ORIGIN: Final = "attune-origin"
SCHEMA: Final = "attune-schema"
POSITION: Final = "attune-position"
COPIED: Final = "attune-copied"
SHA256: Final = "sha256"

SPECVERSION_1_0: Final = b"1.0"
AVRO: Final = b"application/avro"
PERSONAL_IN_THE_CLEAR: Final = b"1"

INTERACTION_PREFIX: Final = "attune.interaction."
WATERMARK: Final = "attune.watermark"
ACTION_PROPOSED: Final = "attune.action.proposed"
ACTION_RECALLED: Final = "attune.action.recalled"
NO_ACTION: Final = "attune.decision.no-action"
SUPPRESSION_STARTED: Final = "attune.suppression.started"
SUPPRESSION_LIFTED: Final = "attune.suppression.lifted"
CUSTOMER_STATE: Final = "attune.customer-state.changed"

PASSED_ON: Final = frozenset({SPECVERSION, ID, TYPE, SOURCE, TIME, CONTENT_TYPE, TRACEPARENT})
"""Headers of an interaction that stand in the journal as they stood there, where `passed_on` lets them pass."""

LONGEST: Final = 2_048
"""Bytes of one header that is passed on: what a fold keeps of all texts of an event together."""

_DAY_MS: Final = 86_400_000
_TRACEPARENT_BYTES: Final = 128
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)(?:00(?=.{53}\Z)|(?!00)[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?\Z"
)

Headers = list[tuple[str, bytes]]
Foreign = Iterable[tuple[str, bytes | None]]
"""Headers of a record that others wrote: a value may be null."""


class Origin(NamedTuple):
    """The record of the interactions topic that a journal record was copied from."""

    topic: str
    partition: int
    offset: int

    def __bytes__(self) -> bytes:
        return f"{self.topic}/{self.partition}/{self.offset}".encode()

    @classmethod
    def parse(cls, value: bytes) -> "Origin":
        """Read `<topic>/<partition>/<offset>`; ValueError when it is anything else."""
        parts = value.split(b"/")
        if len(parts) != 3 or not parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
            raise ValueError(f"header {ORIGIN} is {value[:100]!r}, expected <topic>/<partition>/<offset>")
        return cls(parts[0].decode(), int(parts[1]), int(parts[2]))


class Position(NamedTuple):
    """Where an output comes from: journal partition, offset, and its index among that record's outputs."""

    partition: int
    offset: int
    emission: int

    def __bytes__(self) -> bytes:
        return f"{self.partition}/{self.offset}/{self.emission}".encode()

    @classmethod
    def parse(cls, value: bytes) -> "Position":
        """Read `<partition>/<offset>/<index>`; ValueError when it is anything else."""
        parts = value.split(b"/")
        if len(parts) != 3 or not all(part.isdigit() for part in parts):
            raise ValueError(f"header {POSITION} is {value[:100]!r}, expected <partition>/<offset>/<index>")
        return cls(*map(int, parts))


class Copied(NamedTuple):
    """Where a record of a split journal was copied from: the places that it has had, the first one first."""

    places: tuple[tuple[int, int], ...]
    """Partition and offset of each."""

    @property
    def original(self) -> tuple[int, int]:
        """Partition and offset at which the record came into the journal."""
        return self.places[0]

    @property
    def source(self) -> tuple[int, int]:
        """Partition and offset that it was last copied from."""
        return self.places[-1]

    def __bytes__(self) -> bytes:
        return " ".join(f"{partition}/{offset}" for partition, offset in self.places).encode()

    @classmethod
    def parse(cls, value: bytes) -> "Copied":
        """Read `<partition>/<offset>`, several with spaces between; ValueError when it is anything else."""
        places = [place.split(b"/") for place in value.split(b" ")]
        if not all(len(place) == 2 and all(number.isdigit() for number in place) for place in places):
            raise ValueError(f"header {COPIED} is {value[:100]!r}, expected <partition>/<offset>, several with spaces")
        return cls(tuple((int(partition), int(offset)) for partition, offset in places))


def first(headers: Foreign, name: str) -> bytes | None:
    """Return the value of the first header of that name whose value is not null, or None."""
    for key, value in headers:
        if key == name and value is not None:
            return value
    return None


def is_traceparent(value: bytes) -> bool:
    """Tell whether a value is a W3C trace context: version 00, or of a later version what begins like one."""
    return len(value) <= _TRACEPARENT_BYTES and _TRACEPARENT.match(value) is not None


def passed_on(headers: Foreign) -> Headers:
    """Return those headers of an interaction that the journal has too: known, not null, a trace context if valid."""
    return [
        (name, value)
        for name, value in headers
        if name in PASSED_ON and value is not None and (name != TRACEPARENT or is_traceparent(value))
    ]


def size_of(headers: Foreign) -> int:
    """Return how many bytes names and values have together."""
    size = 0
    for name, value in headers:
        size += (len(name) if name.isascii() else len(name.encode())) + len(value or b"")
    return size


def rfc3339(time_ms: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC, e.g. `2026-01-31T09:15:00.250Z`."""
    day, rest = divmod(time_ms, _DAY_MS)
    minutes, rest = divmod(rest, 60_000)
    return f"{_date(day)}{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}Z"


@lru_cache(maxsize=1_024)
def _date(day: int) -> str:
    """Write a day since 1970 up to the T behind it: every output has a time, and few are of different days."""
    return datetime.fromtimestamp(day * _DAY_MS // 1000, UTC).isoformat()[:11]


def cloud_event(
    *,
    event_id: str,
    ce_type: str,
    source: str,
    time_ms: int,
    subject: str | None = None,
    traceparent: bytes | None = None,
) -> Headers:
    """Return the CloudEvents headers of an Avro message.

    `time_ms` is event time in milliseconds since 1970; `subject` a customer's surrogate, never an identifier in
    the clear; `traceparent` is passed on as it came.
    """
    headers = [
        (SPECVERSION, SPECVERSION_1_0),
        (ID, event_id.encode()),
        (TYPE, ce_type.encode()),
        (SOURCE, source.encode()),
        (TIME, rfc3339(time_ms).encode()),
        (CONTENT_TYPE, AVRO),
    ]
    if subject is not None:
        headers.append((SUBJECT, subject.encode()))
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent))
    return headers
