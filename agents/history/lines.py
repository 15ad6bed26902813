"""What a replay gives out, as JSON lines: one object each, everything that a topic's record holds."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from agents.history.refold import ITSELF, Emitted
from agents.history.selection import What, interaction
from schemas import headers as names
from schemas.codec import EMBEDDED
from schemas.errors import ContractError

_NAMES: Final = {What.ACTIONS: "action", What.SUPPRESSIONS: "suppression", What.INTERACTIONS: "interaction"}
_ENCODE: Final = msgspec.json.Encoder().encode


def lines(emitted: Iterable[Emitted]) -> bytes:
    """Return one line for each.

    `value` is the decoded record, its times in milliseconds as in the schema; bytes (a sealed personal block) are
    base64. An interaction that cannot be decoded has null there, and `unreadable` says why.
    """
    return b"".join([_ENCODE(plain(item)) + b"\n" for item in emitted])


def plain(item: Emitted) -> dict[str, Any]:
    """Return one as plain values."""
    found: dict[str, Any] = {
        "what": _NAMES[item.what],
        "partition": item.partition,
        "offset": item.offset,
        "index": None if item.emission == ITSELF else item.emission,
        "appended_at": names.rfc3339(item.timestamp),
        "topic": item.topic,
        "key": _text(item.key),
        "headers": {name: _text(value) for name, value in item.headers},
    }
    try:
        found["value"] = interaction(item) if item.what is What.INTERACTIONS else EMBEDDED.decode(item.value)
    except ContractError as error:
        found |= {"value": None, "unreadable": str(error)}
    return found


def read_line(line: bytes) -> Mapping[str, Any]:
    """Read a line again."""
    found: Mapping[str, Any] = msgspec.json.decode(line)
    return found


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
