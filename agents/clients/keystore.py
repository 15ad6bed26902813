"""Keys of personal data, one per customer.  Erasing a key erases what was sealed under it, in every copy of the log."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import redis.asyncio

from agents.clients import sealing
from schemas.sealed import Sealed

_PREFIX = "attune:key:"


class KeyErased(LookupError):
    """No key of that id exists: it was erased, or never made."""


class KeyNotFetched(LookupError):
    """A key that is to be used was not fetched, or others have taken its place: fetch it and try again."""

    retry_later = True
    quotes_no_values = True


class KeyStore(Protocol):
    """Keeps keys outside every Kafka topic."""

    async def get_or_create(self, key_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the keys of these ids, making those that do not exist; all callers get the same key."""
        ...

    async def get(self, key_id: str) -> bytes:
        """Return one key; raises KeyErased."""
        ...

    async def erase(self, key_id: str) -> bool:
        """Delete a key for good; return whether it existed."""
        ...


class ValkeyKeyStore:
    """Keys in Valkey or Redis; run it with an append-only file, and back it up apart from the log."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def get_or_create(self, key_ids: Sequence[str]) -> dict[str, bytes]:
        """See `KeyStore.get_or_create`; two round trips for any number of keys."""
        if not key_ids:
            return {}
        names = [_PREFIX + key_id for key_id in key_ids]
        found: list[Any] = await self._client.mget(names)
        missing = [name for name, key in zip(names, found, strict=True) if key is None]
        if missing:
            async with self._client.pipeline(transaction=False) as pipe:
                for name in missing:
                    pipe.set(name, sealing.new_key(), nx=True)
                pipe.mget(names)
                found = (await pipe.execute())[-1]
        return {key_id: key for key_id, key in zip(key_ids, found, strict=True) if key is not None}

    async def get(self, key_id: str) -> bytes:
        """See `KeyStore.get`."""
        key: Any = await self._client.get(_PREFIX + key_id)
        if key is None:
            raise KeyErased(f"key {key_id} was erased or never made: what was sealed under it cannot be read")
        return bytes(key)

    async def erase(self, key_id: str) -> bool:
        """See `KeyStore.erase`."""
        return bool(await self._client.delete(_PREFIX + key_id))


class _Held(NamedTuple):
    key: bytes
    since: float


class Vault:
    """Keys fetched ahead for a run of records, then used without waiting; keeps the most recent ones.

    A key that was erased meanwhile is known here for a while yet, and what is sealed under it then can never be
    opened: the data are lost, not exposed.  Keys are asked for again after `seconds`, so that this lasts no longer
    than that and the run of records which was begun by then.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        kept: int = 50_000,
        seconds: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the store; at least the `kept` keys that were used last stay, at most twice as many."""
        self._store = store
        self._kept = kept
        self._seconds = seconds
        self._now = now
        self._young: dict[str, _Held] = {}
        self._old: dict[str, _Held] = {}

    async def fetch(self, key_ids: Sequence[str]) -> None:
        """Make keys usable; raises redis.ConnectionError when the store is away."""
        now = self._now()
        wanted: list[str] = []
        for key_id in key_ids:
            held = self._young.get(key_id) or self._old.get(key_id)
            if held is None or now - held.since > self._seconds:
                wanted.append(key_id)
            else:
                self._young[key_id] = held
        found = await self._store.get_or_create(wanted) if wanted else {}
        for key_id in wanted:
            if key_id in found:
                self._young[key_id] = _Held(found[key_id], now)
            else:
                self._young.pop(key_id, None)
                self._old.pop(key_id, None)
        if len(self._young) > self._kept:
            self._old, self._young = self._young, {}

    def seal(self, key_id: str, plaintext: bytes) -> Sealed:
        """Encrypt under a key that was fetched; raises KeyNotFetched."""
        held = self._young.get(key_id) or self._old.get(key_id)
        if held is None:
            raise KeyNotFetched(f"key {key_id} was not fetched")
        return sealing.seal(key_id, held.key, plaintext)
