"""The reference: one record at a time, every state decoded afresh from its bytes and encoded again.

No batch, no cache, no coalescing, nothing shared between two records but bytes.  It is slow on purpose.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from agents.proof.subject import Codec, Output, Reference
from schemas.message import Message


class Waits(Exception):
    """The next record cannot be folded: a document is missing.  Its message is the step's."""


class Table:
    """States for the step of one record; what it sets is kept by `changes`, never before."""

    __slots__ = ("_codec", "_set", "_states")

    def __init__(self, states: dict[bytes, bytes], codec: Codec) -> None:
        self._states = states
        self._codec = codec
        self._set: dict[bytes, Any] = {}

    def get(self, key: bytes) -> Any:
        """Return the state of a key, or None."""
        if key in self._set:
            return self._set[key]
        encoded = self._states.get(key)
        return None if encoded is None else self._codec.decode(encoded)

    def set(self, key: bytes, value: Any) -> None:
        """Make `value` the state of a key."""
        self._set[key] = value

    def delete(self, key: bytes) -> None:
        """Remove the state of a key."""
        self._set[key] = None

    def present(self) -> Iterator[bytes]:
        """Yield every key that has a state now."""
        yield from (key for key in self._states if self._set.get(key, self) is not None)
        yield from (key for key, value in self._set.items() if key not in self._states and value is not None)

    def changes(self) -> dict[bytes, bytes | None]:
        """Return what was set, encoded."""
        encode = self._codec.encode
        return {key: None if value is None else encode(value) for key, value in self._set.items()}


@dataclasses.dataclass(slots=True)
class Sequential:
    """Folds one partition of the journal from its first record."""

    reference: Reference
    states: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    refused: int = 0
    """Records whose step raised."""

    def fold(self, record: Message) -> Sequence[Output]:
        """Fold the next record and return its outputs; raises Waits, after which it may be tried again."""
        reference = self.reference
        table = Table(self.states, reference.codec)
        try:
            outputs = reference.step(table, record) or ()
            changes = table.changes()
            reference.check(outputs, changes)
        except Exception as error:
            if getattr(error, "retry_later", False):
                raise Waits(str(error)) from error
            if reference.muted(record):
                return ()
            self.refused += 1
            return [reference.dead_letter(record, error)]
        for key, encoded in changes.items():
            if encoded is None:
                self.states.pop(key, None)
            else:
                self.states[key] = encoded
        return () if reference.muted(record) else outputs
