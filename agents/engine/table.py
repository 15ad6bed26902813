"""States of one partition: bytes at rest, decoded ones warm.  Users see a table.

`get` and `set` are on the hot path: two dictionaries of decoded values (a young and an old
generation) stand for an LRU at a tenth of its cost; see tests/benchmarks.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agents.engine.errors import OversizedState, UnreadableState

OVERHEAD_BYTES = 160
"""What a state takes beside key and value: two objects and its place in the mapping (tests/benchmarks/memory.py)."""


class StateTable:
    """A mapping of keys to states.

    `get` hands out the live object; after a change in place, call `set` with it so that it is
    written.  States of keys that were neither set nor deleted since the last `commit` are clean.
    """

    __slots__ = ("_capacity", "_decode", "_dirty", "_encode", "_max_bytes", "_old", "_rest", "_young", "bytes")

    def __init__(
        self,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
        *,
        decoded: int = 200_000,
        max_bytes: int = 256_000,
    ) -> None:
        self._encode = encode
        self._decode = decode
        self._capacity = decoded
        self._max_bytes = max_bytes
        self._rest: dict[bytes, bytes] = {}
        self._young: dict[bytes, Any] = {}
        self._old: dict[bytes, Any] = {}
        self._dirty: dict[bytes, None] = {}
        self.bytes = 0
        """About how much memory the states at rest take, keys and the mapping itself included."""

    def get(self, key: bytes) -> Any:
        """Return the state of a key, or None.  Raises UnreadableState for one that does not decode."""
        value = self._young.get(key)
        if value is not None or key in self._dirty:
            return value
        value = self._old.get(key)
        if value is None:
            encoded = self._rest.get(key)
            if encoded is None:
                return None
            try:
                value = self._decode(encoded)
            except Exception as error:
                raise UnreadableState(f"a stored state cannot be read: {error}") from error
        self._young[key] = value
        return value

    def set(self, key: bytes, value: Any) -> None:
        """Make `value` (not None) the state of a key."""
        self._young[key] = value
        self._dirty[key] = None

    def delete(self, key: bytes) -> None:
        """Remove the state of a key."""
        self._young.pop(key, None)
        self._old.pop(key, None)
        self._dirty[key] = None

    def encode(self) -> list[tuple[bytes, bytes | None]]:
        """Encode what changed since the last `commit`, in order of first change; None stands for removed.

        Changes nothing.  Raises OversizedState.
        """
        young, encode, limit = self._young, self._encode, self._max_bytes
        changes: list[tuple[bytes, bytes | None]] = []
        for key in self._dirty:
            value = young.get(key)
            if value is None:
                changes.append((key, None))
                continue
            encoded = encode(value)
            if len(encoded) > limit:
                raise OversizedState(f"state of {len(encoded)} bytes is larger than the {limit} allowed")
            changes.append((key, encoded))
        return changes

    def commit(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """Put what `encode` returned at rest."""
        self._dirty.clear()
        self.load(changes)
        if len(self._young) > self._capacity:
            self._old, self._young = self._young, {}

    def rollback(self) -> None:
        """Forget everything since the last `commit`, changes in place included."""
        self._dirty.clear()
        self._young = {}
        self._old = {}

    def load(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put encoded states at rest; None removes."""
        rest, held = self._rest, self.bytes
        for key, encoded in changes:
            if encoded is None:
                before = rest.pop(key, None)
                if before is not None:
                    held -= len(before) + len(key) + OVERHEAD_BYTES
                continue
            before = rest.get(key)
            held += len(encoded) + len(key) + OVERHEAD_BYTES if before is None else len(encoded) - len(before)
            rest[key] = encoded
        self.bytes = held

    def present(self) -> Iterator[bytes]:
        """Yield every key that has a state now, those since the last `commit` included, in no certain order."""
        young, dirty = self._young, self._dirty
        for key in self._rest:
            if key not in dirty or young.get(key) is not None:
                yield key
        for key in dirty:
            if key not in self._rest and young.get(key) is not None:
                yield key

    def at_rest(self, key: bytes) -> bytes | None:
        """Return the encoded state of a key as of the last commit."""
        return self._rest.get(key)

    def items(self) -> Iterator[tuple[bytes, Any]]:
        """Yield keys and decoded states as of the last commit."""
        for key, encoded in self._rest.items():
            yield key, self._decode(encoded)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the keys as of the last commit."""
        return iter(self._rest)

    def __len__(self) -> int:
        """Return the number of states at rest."""
        return len(self._rest)
