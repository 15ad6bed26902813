"""Dead letters: a record that could not be processed, kept byte for byte, with Kafka Connect's headers saying why.

Existing tools read these headers. The record's own headers come first and unchanged, so that a redrive can restore
it. Messages of exceptions may quote what a record held: only errors that are known not to (the contract's own, the
engine's) keep their words, of all others the type and the place stay.
"""

import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.errors import ContractError
from schemas.headers import Headers
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

MESSAGE_LIMIT: Final = 2_000
STACKTRACE_LIMIT: Final = 8_000


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


def headers(original: Iterable[tuple[str, bytes]], found: Failure, *, encrypted: bool = False) -> Headers:
    """Return the headers of a dead letter: the record's own, then why. `encrypted` tells of a DeadLetterEnvelope."""
    own = [(name, value) for name, value in original if not _added(name)]
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


def parse(dead: Sequence[tuple[str, bytes]]) -> Failure:
    """Read the headers of a dead letter, ours or another tool's; absent ones are empty, -1 for numbers."""
    found = {name: value.decode(errors="replace") for name, value in dead if name.startswith(PREFIX)}
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


def original_headers(dead: Iterable[tuple[str, bytes]]) -> Headers:
    """Return the record's own headers, as they were before it became a dead letter."""
    return [(name, value) for name, value in dead if not _added(name)]


def _added(name: str) -> bool:
    return name == ENCRYPTED or name.startswith(PREFIX)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else -1
