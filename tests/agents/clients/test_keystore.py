"""The vault: keys at hand for a run, not much longer than the store has them."""

from collections.abc import Sequence

import pytest

from agents.clients import sealing
from agents.clients.keystore import KeyErased, KeyNotFetched, Vault
from agents.engine.errors import wants_retry


class MemoryStore:
    """A key store in memory that counts what it is asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.asked: list[list[str]] = []
        self.loses: set[str] = set()

    async def get_or_create(self, key_ids: Sequence[str]) -> dict[str, bytes]:
        self.asked.append(list(key_ids))
        for key_id in key_ids:
            self.keys.setdefault(key_id, sealing.new_key())
        return {key_id: self.keys[key_id] for key_id in key_ids if key_id not in self.loses}

    async def get(self, key_id: str) -> bytes:
        if key_id not in self.keys:
            raise KeyErased(key_id)
        return self.keys[key_id]

    async def erase(self, key_id: str) -> bool:
        return self.keys.pop(key_id, None) is not None


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_an_erased_key_is_used_for_a_minute_at_most() -> None:
    """Until then blocks are sealed under what nobody has any more; then under a new key, which opens them."""
    store, clock = MemoryStore(), Clock()
    vault = Vault(store, now=clock)
    await vault.fetch(["ann"])
    await store.erase("ann")
    clock.now += 60
    await vault.fetch(["ann"])
    assert len(store.asked) == 1
    lost = vault.seal("ann", b"x")
    clock.now += 0.1
    await vault.fetch(["ann"])
    assert sealing.unseal(vault.seal("ann", b"y"), await store.get("ann")) == b"y"
    with pytest.raises(sealing.CannotOpen):
        sealing.unseal(lost, await store.get("ann"))


async def test_keys_at_hand_are_not_asked_for_again() -> None:
    """Within the minute only new ones are; the store is not called for none."""
    store = MemoryStore()
    vault = Vault(store, now=Clock())
    for wanted in (["a", "b"], ["b", "c"], ["a", "c"]):
        await vault.fetch(wanted)
    assert store.asked == [["a", "b"], ["c"]]


async def test_a_key_that_the_store_lost_is_not_used() -> None:
    """Erased between two requests of a fetch it is gone here too; the record waits for the next try."""
    store, clock = MemoryStore(), Clock()
    vault = Vault(store, now=clock)
    await vault.fetch(["a"])
    clock.now += 61
    store.loses.add("a")
    await vault.fetch(["a"])
    with pytest.raises(KeyNotFetched) as caught:
        vault.seal("a", b"x")
    assert wants_retry(caught.value)


async def test_keys_used_last_stay() -> None:
    """Old ones make room; the newest and those used again since are kept, also across another's fetch."""
    store = MemoryStore()
    vault = Vault(store, kept=3, now=Clock())
    await vault.fetch(["dead", "a", "b"])
    await vault.fetch(["dead", "c"])
    vault.seal("a", b"x")  # a run that was fetched before another's fetch made room
    await vault.fetch(["dead", "d", "e"])
    await vault.fetch(["dead", "f"])
    vault.seal("dead", b"x")
    vault.seal("f", b"x")
    with pytest.raises(KeyNotFetched):
        vault.seal("a", b"x")


def test_an_impossible_nonce_opens_nothing() -> None:
    """Garbage in a dead-letter topic is told as such."""
    block = sealing.seal("a", b"k" * 32, b"x")
    with pytest.raises(sealing.CannotOpen):
        sealing.unseal(block._replace(nonce=b""), b"k" * 32)
