"""Avro's primitives as bytes: what the functions made by schemas.compiled call where they do not do it in line."""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

DOUBLE: Final = Struct("<d")
LONG_BITS: Final = 63
INT_BITS: Final = 31


class Written(bytes):
    """An array that is written already, see `written`."""


def written(items: Sequence[bytes]) -> Written:
    """Return an array of items that are each written already: what is the same in many records is written once."""
    return Written(b"".join((write_long(len(items)), *items, b"\0")) if items else b"\0")


class Overrun(ValueError):
    """The bytes do not end where the record does; `end` is where it does."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


def read_long(value: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint of at most 64 bits; return it and where it ends."""
    result, at = read_more(value, at + 1, value[at])
    return (result >> 1) ^ -(result & 1), at


def read_more(value: bytes, at: int, first: int) -> tuple[int, int]:
    """Read the rest of a varint whose first byte is given; return it, still zigzag, and where it ends.

    Written out for up to six bytes, which a time in milliseconds takes: three times as fast as the loop. What is
    subtracted are the continuation bits.
    """
    if first < 128:
        return first, at
    b = value[at]
    if b < 128:
        return first + (b << 7) - _BITS_1, at + 1
    c = value[at + 1]
    if c < 128:
        return first + (b << 7) + (c << 14) - _BITS_2, at + 2
    d = value[at + 2]
    if d < 128:
        return first + (b << 7) + (c << 14) + (d << 21) - _BITS_3, at + 3
    e = value[at + 3]
    if e < 128:
        return first + (b << 7) + (c << 14) + (d << 21) + (e << 28) - _BITS_4, at + 4
    result = first + (b << 7) + (c << 14) + (d << 21) + (e << 28) - _BITS_4 - (128 << 28)
    shift, at = 35, at + 4
    while True:
        byte = value[at]
        at += 1
        result += (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    if result >> 64:
        raise ValueError("a number of more than 64 bits")
    return result, at


_BITS_1: Final = 128
_BITS_2: Final = _BITS_1 + (128 << 7)
_BITS_3: Final = _BITS_2 + (128 << 14)
_BITS_4: Final = _BITS_3 + (128 << 21)


def read_length(value: bytes, at: int) -> tuple[int, int]:
    """Read the length of a string or bytes; return it and where it ends."""
    length, at = read_long(value, at)
    if length < 0:
        raise ValueError("a negative length")
    return length, at


def read_count(value: bytes, at: int) -> tuple[int, int]:
    """Read the number of items in a block, which a negative number and a size in bytes may stand for."""
    items, at = read_long(value, at)
    if items < 0:
        _, at = read_long(value, at)
    return abs(items), at


def write_long(number: Any, bits: int = LONG_BITS) -> bytes:
    """Write a zigzag varint; TypeError when it is no integer, ValueError when it needs more bits."""
    if type(number) is not int:
        raise TypeError("not an integer")
    if not -(1 << bits) <= number < 1 << bits:
        raise ValueError("an integer out of range")
    rest = number << 1 if number >= 0 else (~number << 1) | 1
    if rest < 128:
        return ONE_BYTE[rest]
    if rest >> 35 and rest < 1 << 42:  # a time in milliseconds
        low = ((rest & 127) | 128, (rest >> 7 & 127) | 128, (rest >> 14 & 127) | 128)
        return bytes((*low, (rest >> 21 & 127) | 128, (rest >> 28 & 127) | 128, rest >> 35))
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def write_bytes(data: Any) -> bytes:
    """Write bytes; TypeError when they are none."""
    if type(data) is not bytes:
        raise TypeError("not bytes")
    return write_long(len(data)) + data


def write_double(number: Any) -> bytes:
    """Write a double; TypeError when it is no number."""
    if type(number) is bool:
        raise TypeError("not a number")
    return DOUBLE.pack(number)


def write_boolean(value: Any) -> bytes:
    """Write a boolean; TypeError when it is none."""
    if type(value) is not bool:
        raise TypeError("not a boolean")
    return b"\1" if value else b"\0"


UTF8: Final = str.encode
ONE_BYTE: Final = tuple(bytes((n,)) for n in range(128))
