"""The fields of an interaction as written in JSON: what each may hold, and what is said of what it may not.

Values are never quoted: they may be personal.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas import identity, versions
from schemas.vocabulary import Channel
from streams.clock import EARLIEST_MS

KEY: Final = "key"
"""The customer's identifier; no field of the schema, but the key of the message."""
FIELDS: Final[Mapping[str, Any]] = {field["name"]: field for field in versions.CURRENT["Interaction"]["fields"]}
"""The schema's fields by name."""
PERSONAL: Final = ("identifiers", "fields")
"""The parts of the personal block."""

_NEEDED: Final = (KEY, *(name for name, field in FIELDS.items() if "default" not in field))
_KNOWN: Final = (KEY, *FIELDS)
_ALL: Final = "; there are " + ", ".join(_KNOWN)
_LONGEST_NAME: Final = 80
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = "ISO 8601 text with a zone, e.g. 2026-01-31T09:15:00Z, or whole milliseconds since 1970"

Found = Iterator[tuple[str, str]]
"""Field and message of what is wrong."""


def misfits(plain: Mapping[str, Any], latest_ms: int) -> Found:
    """Yield what is wrong with the fields, one by one; `latest_ms` is the latest time that is not absurd."""
    yield from ((name, f"missing: {_EXPECTED[name]}") for name in _NEEDED if name not in plain)
    for name, value in plain.items():
        check = CHECKS.get(name)
        if check is not None:
            yield from check(name, value)
        elif name == "occurred_at":
            yield from _time(name, value, latest_ms)
        else:
            yield shown(name), f"no such field{_nearest(name, _KNOWN) or _ALL}"


def shown(name: str) -> str:
    """Return a name that somebody chose so that it can be printed anywhere."""
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else ascii(name)[: _LONGEST_NAME + 2]


def milliseconds(value: str | int) -> int:
    """Return a time as milliseconds since 1970; ValueError, with what is missing, for text that is none."""
    if isinstance(value, int):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"expected {_TIME}") from None
    if moment.tzinfo is None:
        raise ValueError("it has no zone; add Z for UTC, or an offset such as +02:00")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _time(name: str, value: Any, latest_ms: int) -> Found:
    if not (isinstance(value, str) or _is_long(value)):
        yield name, f"expected {_TIME}, got {kind_of(value)}"
        return
    try:
        at = milliseconds(value)
    except ValueError as error:
        yield name, str(error)
        return
    if at < EARLIEST_MS:
        hint = "; it looks like seconds" if EARLIEST_MS <= at * 1000 <= latest_ms else ""
        yield name, f"an absurd time, before the year 2000: expected {_TIME}{hint}"
    elif at > latest_ms:
        yield name, f"an absurd time, in the future: expected {_TIME}, by a clock that is right"


Check = Callable[[str, Any], Found]


def _expects(expected: str, fits: Callable[[Any], bool]) -> Check:
    def check(name: str, value: Any) -> Found:
        if not fits(value):
            yield name, f"expected {expected}, got {kind_of(value)}"

    return check


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and (value.isascii() or not _has_surrogates(value))


def _has_surrogates(value: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _names_a_customer(value: Any) -> bool:
    if not _is_text(value):
        return False
    try:
        identity.customer_of_key(b"any", value.encode())
    except identity.MalformedKey:
        return False
    return True


def _texts(name: str, value: Any) -> Found:
    if not isinstance(value, dict):
        yield name, f"expected an object of texts, got {kind_of(value)}"
        return
    for inner, text in value.items():
        if not (_is_text(inner) and _is_text(text)):
            yield f"{name}.{shown(inner)}", f"expected text, got {kind_of(text)}"


def _personal(name: str, value: Any) -> Found:
    if value is None:
        return
    if not isinstance(value, dict):
        yield name, f"expected an object with {' and '.join(PERSONAL)}, or null, got {kind_of(value)}"
        return
    for inner, part in value.items():
        if inner not in PERSONAL:
            yield f"{name}.{shown(inner)}", f"no such field; there are {' and '.join(PERSONAL)}"
        else:
            yield from _texts(f"{name}.{inner}", part)


def _channel(name: str, value: Any) -> Found:
    if value not in _CHANNELS:
        near = _nearest(value.upper(), _CHANNELS) if isinstance(value, str) else f", got {kind_of(value)}"
        yield name, f"expected one of {', '.join(_CHANNELS)}{near}"


_CHANNELS: Final = tuple(channel.value for channel in Channel)
_EXPECTED: Final[Mapping[str, str]] = {
    KEY: "`namespace:value` of the customer, e.g. loyalty:4711, or `attune:` with the 32 hex digits of a surrogate",
    "type": "text such as purchase.made, not empty",
    "event_id": "text that tells this event from every other of its source, not empty",
    "occurred_at": _TIME,
}
_REQUIRED_TEXT: Final = {
    name: _expects(_EXPECTED[name], lambda value: _is_text(value) and bool(value)) for name in ("type", "event_id")
}
CHECKS: Final[Mapping[str, Check]] = {
    KEY: _expects(_EXPECTED[KEY], _names_a_customer),
    **_REQUIRED_TEXT,
    "channel": _channel,
    **{name: _expects("text", _is_text) for name in ("source", "touchpoint", "currency")},
    "amount_minor": _expects(
        "a whole number of minor units (cents) or null", lambda value: value is None or _is_long(value)
    ),
    **{
        name: _expects("text or null", lambda value: value is None or _is_text(value))
        for name in ("reference", "decision_id")
    },
    "attributes": _texts,
    "personal": _personal,
}
"""For each field but the time what it may hold; all that the schema has (a test compares them)."""


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


_KINDS: Final = ((bool, "true or false"), (list, "a list"), (dict, "an object"), (type(None), "null"))


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    if isinstance(value, str):
        return "empty text" if not value else "text of another form" if _is_text(value) else "text that is no Unicode"
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "a number")
