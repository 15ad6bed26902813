"""What the fold of one customer depended on, as one SHA-256: whoever has the same journal gets the same.

The digest is chained, h(n) = SHA-256(h(n-1) + link(n)), over these links in order:

1. `attune as-of 1`, the journal topic's name, the customer's surrogate.
2. For each record of the journal partition, in its order and up to the position, that has the customer's key or that
   is a control record (any without a key: ticks, watermarks, activations): its partition and offset, its key, its
   headers in their order without those in `VOLATILE`, its value as stored (a personal block is hashed sealed, so that
   an erasure changes nothing), and its fate: `folded`, `copied` (passed over: its origin had been seen) or `refused`
   (a dead letter). The fate is what this customer's fold depends on of other customers' records: they move the origin
   marks by which copies are told.
3. The documents active at the position: kind, name, version and SHA-256 of policy and model, where there is one.
4. The version of logic active at the position: releases that know it fold alike, so that a hash outlives an upgrade.

A link is its fields one after the other: each as its length in eight bytes, big-endian, then its bytes; numbers are
decimal in ASCII, text is UTF-8, a list has its number of items first, and what is null has the length 2^64 - 1.

Append times are left out: no fold looks at them. So are the position itself, batch sizes and everything behind the
position; records of other customers change nothing but what is said of copies.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from schemas import headers as names
from schemas.message import Message
from streams.partition import Active

VOLATILE: Final = frozenset({names.TRACEPARENT})
"""Headers that no decision depends on; a trace is about one passage of a record, not about the record."""

FOLDED: Final = "folded"
COPIED: Final = "copied"
REFUSED: Final = "refused"

_NULL: Final = b"\xff" * 8


class InputHash:
    """The chain for one customer; add links in order, then ask for the digest."""

    def __init__(self, journal: str, customer: str) -> None:
        self._head = b""
        self.records = 0
        """Records of the customer that were hashed."""
        self.controls = 0
        """Control records that were hashed."""
        self._link("attune as-of 1", journal, customer)

    def add(self, record: Message, fate: str) -> None:
        """Add a record of the customer or a control record."""
        lasting = [(name, value) for name, value in record.headers if name not in VOLATILE]
        fields: list[bytes | str | int | None] = [record.partition, record.offset, record.key, len(lasting)]
        for name, value in lasting:
            fields += (name, value)
        self._link(*fields, record.value, fate)
        if record.key is None:
            self.controls += 1
        else:
            self.records += 1

    def digest(self, documents: Sequence[tuple[str, Active]], logic: int) -> str:
        """Return the digest in hex, after the (kind, document) pairs and the version of logic that are active."""
        head = self._head
        for kind, active in documents:
            self._link(kind, active.name, active.version, active.sha256)
        self._link("LOGIC", logic)
        found, self._head = self._head, head
        return found.hex()

    def _link(self, *fields: bytes | str | int | None) -> None:
        parts = [self._head]
        for field in fields:
            if field is None:
                parts.append(_NULL)
                continue
            content = field if isinstance(field, bytes) else str(field).encode()
            parts += (len(content).to_bytes(8, "big"), content)
        self._head = hashlib.sha256(b"".join(parts)).digest()
