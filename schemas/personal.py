"""Whether an interaction has personal data in the clear: told from its bytes where that is certain, else by decoding.

`personal` is the last field of the schema and null the first type of its union. So a record without the block ends in
a byte 0, but so does one whose block stands in the clear: a map ends in 0. The last byte alone tells nothing; it
must be known where the last field begins. To skip to it costs a third of decoding.
"""

from collections.abc import Mapping
from typing import Any, Final

from schemas import versions
from schemas.codec import FRAME_LENGTH, Codec, without_logical_types
from schemas.compiled import compile_skipper

FIELD: Final = "personal"
_CIPHERTEXT: Final = "ciphertext"

_SCHEMA: Final = without_logical_types(versions.CURRENT["Interaction"])
_CURRENT: Final = versions.LATEST["Interaction"].fingerprint
_begin: Final = compile_skipper(_SCHEMA)

if _SCHEMA["fields"][-1]["name"] != FIELD or _SCHEMA["fields"][-1]["type"][0] != "null":
    raise ValueError(f"{FIELD} must be the last field of Interaction and null its first type: absence is told by that")


def is_clear(personal: Mapping[str, Any] | None) -> bool:
    """Tell whether a decoded block stands in the clear: it is there and not sealed."""
    return personal is not None and _CIPHERTEXT not in personal


def surely_absent(value: bytes, fingerprint: str) -> bool:
    """Tell whether a framed interaction, written by the schema of that fingerprint, ends in a null block for certain.

    False says nothing: there may be a block, or none, or the value may be garbled.
    """
    if fingerprint != _CURRENT or value[-1] != 0:
        return False
    try:
        begin = _begin(value, FRAME_LENGTH)
    except (IndexError, ValueError):
        return False
    return begin == len(value) - 1


def in_the_clear(codec: Codec, value: bytes, fingerprint: str) -> bool:
    """Tell whether a framed interaction has a block in the clear; MalformedMessage where it cannot be read."""
    return not surely_absent(value, fingerprint) and is_clear(codec.decode(value)[FIELD])
