"""Dead letters: a record that could not be processed, kept byte for byte, with Kafka Connect's headers saying why.

Existing tools read these headers. Where the letter is not sealed, the record's own headers come first and unchanged, so
that a redrive can restore it. Messages of exceptions may quote what a record held: only errors that are known not to
(the contract's own, the engine's) keep their words, of all others the type and the place stay.

A dead letter can always be written: what is too long is cut, and marks say how long it was.
"""

import traceback
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from schemas.errors import ContractError
from schemas.headers import Foreign, Headers, Origin
from schemas.identity import MalformedKey
from schemas.topics import DEAD_LETTER_SUFFIX

PREFIX: Final = "__connect.errors."
TOPIC: Final = PREFIX + "topic"
PARTITION: Final = PREFIX + "partition"
OFFSET: Final = PREFIX + "offset"
STAGE: Final = PREFIX + "stage"
CLASS_NAME: Final = PREFIX + "class.name"
EXCEPTION_CLASS: Final = PREFIX + "exception.class.name"
EXCEPTION_MESSAGE: Final = PREFIX + "exception.message"
EXCEPTION_STACKTRACE: Final = PREFIX + "exception.stacktrace"

ENCRYPTED: Final = "attune-encrypted"
"""Header, value 1: the dead letter's value is a framed DeadLetterEnvelope instead of the original bytes."""

MARK: Final = "attune-dlq-"
TRUNCATED: Final = MARK + "truncated"
"""Header: the original value's length in bytes; only its beginning is kept."""

TRUNCATED_KEY: Final = MARK + "truncated-key"
"""Header: the original key's length in bytes; only its beginning is kept."""

TRUNCATED_HEADERS: Final = MARK + "truncated-headers"
"""Header: how many headers the original had; only the first of them are kept, each whole."""

REDRIVEN: Final = "attune-redriven"
"""Header of a record that was returned from a dead-letter topic: `<topic>/<partition>/<offset>` of the dead letter.
A record that fails again keeps it, so that one which goes round in circles bears several."""

MESSAGE_LIMIT: Final = 2_000
STACKTRACE_LIMIT: Final = 8_000
VALUE_LIMIT: Final = 64 * 1024
REST_LIMIT: Final = 64 * 1024
"""Bytes of key and headers together that are kept whole."""
KEY_LIMIT: Final = 16 * 1024
"""Bytes of the key that are kept where it and the headers have more than `REST_LIMIT`."""
_HEADER_COST: Final = 10
"""Bytes that a header takes besides its name and value, at most."""
_RETURNS_KEPT: Final = 100
_LONGEST_PLACE: Final = 300
_LONGEST_NUMBER: Final = 19


class Stage(StrEnum):
    """Where a record failed, in Kafka Connect's words."""

    KEY_CONVERTER = "KEY_CONVERTER"
    VALUE_CONVERTER = "VALUE_CONVERTER"
    HEADER_CONVERTER = "HEADER_CONVERTER"
    TRANSFORMATION = "TRANSFORMATION"
    TASK_PUT = "TASK_PUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What the headers of a dead letter say: where the record was, where it failed, and on what."""

    topic: str
    partition: int
    offset: int
    stage: str
    class_name: str
    exception_class: str
    message: str
    stacktrace: str


class Original(NamedTuple):
    """A record as it was before it became a dead letter, or of a long one the beginnings of what it was."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def cut(record: Original) -> tuple[Original, Headers]:
    """Return what is kept of a record, and the marks that say what is not."""
    key, value, own = record
    marks: Headers = []
    if value is not None and len(value) > VALUE_LIMIT:
        marks.append((TRUNCATED, str(len(value)).encode()))
        value = value[:VALUE_LIMIT]
    if len(key or b"") + sum(map(_cost, own)) > REST_LIMIT:
        if key is not None and len(key) > KEY_LIMIT:
            marks.append((TRUNCATED_KEY, str(len(key)).encode()))
            key = key[:KEY_LIMIT]
        room, count = REST_LIMIT - len(key or b""), 0
        for header in own:
            room -= _cost(header)
            if room < 0:
                marks.append((TRUNCATED_HEADERS, str(len(own)).encode()))
                break
            count += 1
        own = own[:count]
    return Original(key, value, own), marks


def _cost(header: tuple[str, bytes | None]) -> int:
    return len(header[0].encode()) + len(header[1] or b"") + _HEADER_COST


def returns(own: Foreign) -> Headers:
    """Return the headers that tell of returns from a dead-letter topic, the newest hundred, none that tells else."""
    found = [(name, value) for name, value in own if name == REDRIVEN and value is not None and _is_letter(value)]
    return found[-_RETURNS_KEPT:]


def _is_letter(place: bytes) -> bool:
    try:
        return len(place) <= _LONGEST_PLACE and Origin.parse(place).topic.endswith(DEAD_LETTER_SUFFIX)
    except ValueError:
        return False


def topic_of(topic: str) -> str:
    """Return the topic for the dead letters of a topic."""
    return topic + DEAD_LETTER_SUFFIX


def failure(topic: str, partition: int, offset: int, stage: str, class_name: str, error: BaseException) -> Failure:
    """Describe why a record failed.

    `stage` is one of Stage, `class_name` who was at work. Long messages and traces are cut at their end and start.
    """
    kind = type(error)
    frames = traceback.extract_tb(error.__traceback__)
    trace = "".join(f"{frame.filename}:{frame.lineno} in {frame.name}\n" for frame in frames)
    return Failure(
        topic=topic,
        partition=partition,
        offset=offset,
        stage=stage,
        class_name=class_name,
        exception_class=f"{kind.__module__}.{kind.__qualname__}",
        message=_words(error)[:MESSAGE_LIMIT],
        stacktrace=trace[-STACKTRACE_LIMIT:],
    )


def _words(error: BaseException) -> str:
    if isinstance(error, ContractError | MalformedKey) or getattr(error, "quotes_no_values", False):
        return str(error)
    return f"{type(error).__name__}; its words are left out, since they may quote the record"


def headers(original: Foreign, found: Failure, *, encrypted: bool = False) -> Headers:
    """Return the headers of a dead letter: the record's own, then why. `encrypted` tells of a DeadLetterEnvelope.

    A null value of the record's own headers stays null, which clients of Kafka send.
    """
    own: list[Any] = original_headers(original)
    why = [
        (TOPIC, found.topic),
        (PARTITION, str(found.partition)),
        (OFFSET, str(found.offset)),
        (STAGE, found.stage),
        (CLASS_NAME, found.class_name),
        (EXCEPTION_CLASS, found.exception_class),
        (EXCEPTION_MESSAGE, found.message),
        (EXCEPTION_STACKTRACE, found.stacktrace),
    ]
    marks = [(ENCRYPTED, b"1")] if encrypted else []
    return [*own, *((name, value.encode()) for name, value in why), *marks]


def parse(dead: Foreign) -> Failure:
    """Read the headers of a dead letter, ours or another tool's; absent ones are empty, -1 for numbers."""
    found = {n: v.decode(errors="replace") for n, v in dead if n.startswith(PREFIX) and v is not None}
    return Failure(
        topic=found.get(TOPIC, ""),
        partition=_number(found.get(PARTITION)),
        offset=_number(found.get(OFFSET)),
        stage=found.get(STAGE, ""),
        class_name=found.get(CLASS_NAME, ""),
        exception_class=found.get(EXCEPTION_CLASS, ""),
        message=found.get(EXCEPTION_MESSAGE, ""),
        stacktrace=found.get(EXCEPTION_STACKTRACE, ""),
    )


def original_headers(dead: Foreign) -> list[tuple[str, bytes | None]]:
    """Return the own headers of a record whose dead letter is not sealed, as they were before."""
    return [(name, value) for name, value in dead if not _added(name)]


def number(value: bytes | None) -> int:
    """Read a number from a header; -1 where there is none."""
    return -1 if value is None else _number(value.decode(errors="replace"))


def _added(name: str) -> bool:
    return name == ENCRYPTED or name.startswith((PREFIX, MARK))


def _number(text: str | None) -> int:
    known = text is not None and len(text) <= _LONGEST_NUMBER and text.removeprefix("-").isdecimal()
    return int(text) if known and text is not None else -1
