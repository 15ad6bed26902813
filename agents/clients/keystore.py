"""Keys of personal data, one per customer.  Erasing a key erases what was sealed under it, in every copy of the log."""

from collections.abc import Sequence
from typing import Any, Protocol

import redis.asyncio

from agents.clients import sealing
from schemas.sealed import Sealed

_PREFIX = "attune:key:"


class KeyErased(LookupError):
    """No key of that id exists: it was erased, or never made."""


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


class Vault:
    """Keys fetched ahead for a run of records, then used without waiting; keeps the most recent ones."""

    def __init__(self, store: KeyStore, *, kept: int = 50_000) -> None:
        self._store = store
        self._kept = kept
        self._keys: dict[str, bytes] = {}

    async def fetch(self, key_ids: Sequence[str]) -> None:
        """Make keys usable; raises redis.ConnectionError when the store is away."""
        missing = [key_id for key_id in key_ids if key_id not in self._keys]
        if len(self._keys) + len(missing) > self._kept:
            self._keys.clear()
            missing = list(key_ids)
        self._keys |= await self._store.get_or_create(missing)

    def seal(self, key_id: str, plaintext: bytes) -> Sealed:
        """Encrypt under a key that was fetched."""
        return sealing.seal(key_id, self._keys[key_id], plaintext)
