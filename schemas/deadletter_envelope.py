"""What is sealed in a dead letter of the interactions topic: key, value and headers of the record, byte for byte.

The plaintext is a row of pieces: key, value, then name and value of each header. A piece is its length in four
big-endian bytes (0xFFFFFFFF for null) and its bytes. Nothing of the record stands outside, since any part of one that
was not understood may hold personal data.
"""

import struct
from collections.abc import Iterator
from typing import Final

from schemas.deadletter import Original
from schemas.errors import MalformedMessage

_LENGTH: Final = struct.Struct(">I")
_NULL: Final = 0xFFFFFFFF


def pack(record: Original) -> bytes:
    """Return the plaintext to seal."""
    pieces = [_piece(record.key), _piece(record.value)]
    for name, value in record.headers:
        pieces += (_piece(name.encode()), _piece(value))
    return b"".join(pieces)


def unpack(plaintext: bytes) -> Original:
    """Return the record of an opened envelope; MalformedMessage when it is no such plaintext."""
    pieces = list(_pieces(plaintext))
    if len(pieces) < 2 or len(pieces) % 2:
        raise MalformedMessage(f"the opened envelope has {len(pieces)} pieces: not key, value, and pairs of headers")
    names = [_name(piece) for piece in pieces[2::2]]
    return Original(pieces[0], pieces[1], list(zip(names, pieces[3::2], strict=True)))


def _piece(content: bytes | None) -> bytes:
    return _LENGTH.pack(_NULL) if content is None else _LENGTH.pack(len(content)) + content


def _pieces(plaintext: bytes) -> Iterator[bytes | None]:
    at = 0
    while at < len(plaintext):
        if len(plaintext) - at < _LENGTH.size:
            raise MalformedMessage(f"the opened envelope breaks off in a length at byte {at}")
        (length,) = _LENGTH.unpack_from(plaintext, at)
        at += _LENGTH.size
        if length == _NULL:
            yield None
            continue
        if length > len(plaintext) - at:
            raise MalformedMessage(f"the opened envelope says {length} bytes at byte {at} and holds fewer")
        yield plaintext[at : at + length]
        at += length


def _name(piece: bytes | None) -> str:
    try:
        return (piece or b"").decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("the opened envelope has a header whose name is not UTF-8") from error
