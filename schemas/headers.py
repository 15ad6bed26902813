"""Names of all headers, the values of ce_type, and the few headers that hold something composed.

Header names are `str` and values `bytes`, as Kafka clients take them. CloudEvents 1.0, Kafka binary mode.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
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

Headers = list[tuple[str, bytes]]


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


def first(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """Return the value of the first header of that name, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def rfc3339(time_ms: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC, e.g. `2026-01-31T09:15:00.250Z`."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).isoformat()  # a tenth of strftime's time
    return f"{moment[:19]}.{time_ms % 1000:03d}Z"


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
