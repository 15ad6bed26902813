"""What is sealed in a dead letter of the interactions topic: the original key and value, byte for byte.

The plaintext is the key's length in four big-endian bytes (0xFFFFFFFF for no key), the key, the
value.  Two things stand in headers, in the clear, since neither is personal: that there was no
value, and that a value was cut.
"""

import struct
from typing import Final

from schemas.errors import MalformedMessage

NULL_VALUE: Final = "attune-dlq-null-value"
"""Header, value 1: the original had no value."""

TRUNCATED: Final = "attune-dlq-truncated"
"""Header: the original value's length in bytes; only its beginning is kept."""

REDRIVEN: Final = "attune-redriven"
"""Header of a record that was returned from a dead-letter topic: `<topic>/<partition>/<offset>` of the dead letter.
A record that fails again keeps it, so that one which goes round in circles bears several."""

_LENGTH: Final = struct.Struct(">I")
_NO_KEY: Final = 0xFFFFFFFF


def pack(key: bytes | None, value: bytes) -> bytes:
    """Return the plaintext to seal."""
    if key is None:
        return _LENGTH.pack(_NO_KEY) + value
    return _LENGTH.pack(len(key)) + key + value


def unpack(plaintext: bytes) -> tuple[bytes | None, bytes]:
    """Return key and value of an opened envelope; MalformedMessage when it is no such plaintext."""
    if len(plaintext) < _LENGTH.size:
        raise MalformedMessage(f"the opened envelope has {len(plaintext)} bytes, too few for the key's length")
    (length,) = _LENGTH.unpack_from(plaintext)
    rest = plaintext[_LENGTH.size :]
    if length == _NO_KEY:
        return None, rest
    if length > len(rest):
        raise MalformedMessage(f"the opened envelope says a key of {length} bytes and holds {len(rest)}")
    return rest[:length], rest[length:]
