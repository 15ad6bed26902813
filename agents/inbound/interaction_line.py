"""One line of JSON -> one interaction, or all that is wrong with it.

A line is refused for whatever router or fold would refuse it for, so that the sender learns of it and not the
dead letters. Nothing of a line is quoted but names: values may be personal.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agents.inbound.interaction_fields import FIELDS, KEY, PERSONAL, kind_of, milliseconds, misfits
from schemas.codec import EMBEDDED
from streams import contacts
from streams.clock import LATEST_MS
from streams.customer import Customer
from streams.errors import BadEvent
from streams.fold import HANDLERS

Item = tuple[str, dict[str, Any]]
"""Key and Interaction, as the publisher takes them."""

MAX_MESSAGE_BYTES: Final = 256_000
"""The router's limit (a test compares them)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line; `field` is None where it is the line as a whole."""

    line: int
    field: str | None
    message: str

    def __str__(self) -> str:
        return f"line {self.line}{f', {self.field}' if self.field else ''}: {self.message}"


class BadLine(ValueError):
    """A line that is no interaction; `faults` says all that is wrong."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


def parse(raw: bytes, line: int, *, latest_ms: int = LATEST_MS) -> Item:
    """Return the interaction of a line, what it leaves out as the schema's defaults; raises BadLine.

    `latest_ms` is the latest time that is not absurd.
    """
    try:
        plain = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadLine([Fault(line, None, f"it is not UTF-8 (byte {error.start + 1})")]) from None
    except json.JSONDecodeError as error:
        words = f"it is no JSON: {error.msg} at column {error.colno}; write one object a line"
        raise BadLine([Fault(line, None, words)]) from None
    except (ValueError, RecursionError) as error:
        raise BadLine([Fault(line, None, str(error))]) from None
    if not isinstance(plain, dict):
        raise BadLine([Fault(line, None, f"expected an object, got {kind_of(plain)}")])
    faults = [Fault(line, field, words) for field, words in misfits(plain, latest_ms)]
    if faults:
        raise BadLine(faults)
    event = {name: plain.get(name, _default(field)) for name, field in FIELDS.items()}
    event["occurred_at"] = milliseconds(event["occurred_at"])
    if event["personal"] is not None:
        event["personal"] = {part: event["personal"].get(part, {}) for part in PERSONAL}
    faults = [Fault(line, None, words) for words in _refusals(event, raw)]
    if faults:
        raise BadLine(faults)
    return plain[KEY], event


def _refusals(event: dict[str, Any], raw: bytes) -> Iterator[str]:
    """Say for what router or fold would refuse an interaction whose fields are each as they should be."""
    if len(raw) > MAX_MESSAGE_BYTES // 2 and (size := len(EMBEDDED.encode("Interaction", event))) > MAX_MESSAGE_BYTES:
        words = f"the message would have {size:,} bytes, more than the {MAX_MESSAGE_BYTES:,} allowed"
        yield f"{words}: send large content elsewhere and refer to it"
    try:
        contacts.check(event)
        handler = HANDLERS.get(event["type"])
        if handler is not None:
            handler(Customer(), event)
    except BadEvent as error:
        yield str(error)


def _default(field: Mapping[str, Any]) -> Any:
    default = field.get("default")
    return dict(default) if isinstance(default, Mapping) else default


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"the field {twice!r} stands there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"it is no JSON: {name} is no number")
