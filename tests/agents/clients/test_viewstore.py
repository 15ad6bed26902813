"""The store of the views on a real Valkey: an older position never wins, whoever writes it and whenever."""

import itertools
import json
import random
import time
from collections.abc import AsyncIterator

import pytest

from agents.clients import valkey as clients
from agents.clients.viewstore import ViewStore, parse_mark
from agents.view import (
    ACTIONS,
    Away,
    Document,
    EntriesWrite,
    Entry,
    Mark,
    Moved,
    StateWrite,
    output_position,
    place,
    stale_because,
    state_position,
)
from tests.conftest import Redis

pytestmark = pytest.mark.kafka

ANN = "a" * 32
OLD_MODEL, NEW_MODEL = Document("m", "1", "aa", 3), Document("m", "2", "bb", 12)


@pytest.fixture
async def store(valkey: Redis) -> AsyncIterator[ViewStore]:
    """Yield an empty store."""
    async with clients.client(valkey.url) as client:
        await client.delete("attune:views:current", "attune:views:building")
        store = ViewStore(client)
        generation = await store.begin()
        await store.sweep()
        yield store
        await client.delete("attune:views:current")
        await store.give_up(generation)


def state(fence: int, model: Document | None = None) -> StateWrite:
    return StateWrite(
        ANN, state_position(0, fence, model), json.dumps({"fence": fence, "model": model and model.version}).encode()
    )


def entry(offset: int, id_: str, *, until: int | None = None, now: str = "") -> Entry:
    document = None if until is None else json.dumps({"valid_until": f"{until:04}", "id": id_}).encode()
    return Entry(output_position(0, offset, 0), id_, document, now)


async def test_states_in_any_order(store: ViewStore) -> None:
    """The newest fence stays, then the newest model; what came of each write is said."""
    generation = await store.begin()
    writes = [
        state(1, OLD_MODEL),
        state(9, OLD_MODEL),
        state(9, NEW_MODEL),
        state(100, OLD_MODEL),
        state(2**40, OLD_MODEL),
    ]
    for order in itertools.permutations(writes):
        await store._client.delete(f"attune:views:{generation}:customer:{ANN}")
        results = await store.apply(generation, order)
        assert results[order.index(writes[-1])] == 1
        assert (await store.read(ANN)).state == writes[-1].document
    assert await store.apply(generation, [writes[-1], writes[0]]) == [0, -1]


async def test_a_customer_who_moved_to_another_partition(store: ViewStore) -> None:
    """After a split of the journal offsets begin again, lower: the state of the new partition is the newer one."""
    generation = await store.begin()
    before, after = (
        StateWrite(ANN, state_position(partition, fence, None), b"{}") for partition, fence in ((2, 900), (8, 5))
    )
    swept = StateWrite(ANN, state_position(2, 950, None), None)
    assert await store.apply(generation, [before, after, before, swept]) == [1, 1, -1, -1]
    assert place((await store.read(ANN)).state_position) == (8, 5)


async def test_a_state_that_is_removed_stays_removed(store: ViewStore) -> None:
    """A tombstone at a newer fence is not overwritten by the older state."""
    generation = await store.begin()
    assert await store.apply(generation, [state(5), StateWrite(ANN, state_position(0, 6, None), None), state(5)]) == [
        1,
        1,
        -1,
    ]
    found = await store.read(ANN)
    assert (found.state, place(found.state_position)) == (None, (0, 6))


async def test_outputs_that_come_again_in_part(store: ViewStore) -> None:
    """However runs of outputs are cut, repeated and mixed behind each other, what stands is as if each came once."""
    generation, rng = await store.begin(), random.Random(7)
    for round_ in range(60):
        customer = f"{round_:032d}"
        stands: dict[str, bytes] = {}
        history: list[Entry] = []
        for offset in range(12):
            id_ = f"d{rng.randrange(4)}"
            put = rng.random() < 0.7
            one = entry(offset, id_, until=rng.randrange(20) if put else None, now=f"{offset:04}" if put else "")
            history.append(one)
            stands = {
                name: document
                for name, document in stands.items()
                if not one.now or json.loads(document)["valid_until"] >= one.now
            }
            if one.document is None:
                stands.pop(id_, None)
            else:
                stands[id_] = one.document
        reached = 0
        while reached < len(history):
            start = rng.randrange(reached + 1)
            end = rng.randrange(reached, len(history)) + 1
            await store.apply(generation, [EntriesWrite(ACTIONS, customer, tuple(history[start:end]))])
            reached = max(reached, end)
        await store.apply(generation, [EntriesWrite(ACTIONS, customer, tuple(history[:5]))])
        found = await store.read(customer)
        assert dict(found.actions) == stands
        assert place(found.actions_position) == (0, 11)


async def test_a_generation_that_was_replaced(store: ViewStore) -> None:
    """Its writers are told, and write nothing; the one that is being built takes only its own."""
    old = await store.begin()
    new = await store.start_building()
    assert new is not None
    assert await store.start_building() is None
    with pytest.raises(Moved):
        await store.apply(new, [state(1)])
    await store.apply(new, [state(7)], building=True)
    with pytest.raises(Moved):
        await store.apply(old, [state(1)], building=True)
    assert await store.switch(new) == old
    with pytest.raises(Moved):
        await store.apply(old, [state(8)])
    with pytest.raises(Moved):
        await store.mark(old, "s", Mark(1), b"")
    assert (await store.read(ANN)).state_position == state_position(0, 7, None)
    await store.give_up(old)
    with pytest.raises(ValueError, match="in use"):
        await store.give_up(new)
    assert await store.generation() == new


async def keys(store: ViewStore, generation: str) -> list[str]:
    return sorted([name async for name in store._names(f"attune:views:{generation}:*")])


async def test_generations_that_nobody_needs(store: ViewStore) -> None:
    """What a rebuild left that died while it built, or before it removed what it replaced, is removed; no other is."""
    first = await store.begin()
    await store.apply(first, [state(1)])
    died = await store.start_building()
    assert died is not None
    await store.apply(died, [state(2)], building=True)
    assert await store.sweep() == 0
    await store._client.delete("attune:views:building")  # as after its minute
    second = await store.start_building()
    assert second is not None
    await store.apply(second, [state(3)], building=True)
    await store.switch(second)
    building = await store.start_building()
    assert building is not None
    await store.apply(building, [state(4)], building=True)
    assert await keys(store, first)
    assert await keys(store, died)
    assert await store.sweep() == 2
    assert not await keys(store, first)
    assert not await keys(store, died)
    assert await keys(store, second)
    assert await keys(store, building)
    assert await store.sweep() == 0
    await store.give_up(building)
    assert not await keys(store, building)
    assert await store.sweep() == 0


async def test_generations_that_an_older_release_left(store: ViewStore) -> None:
    """They stand in no list; a sweep of everything finds them, and leaves what is none of a generation."""
    generation = await store.begin()
    await store.apply(generation, [state(1)])
    await store._client.hset("attune:views:0badcafe:customer:x", "position", "1")
    assert await store.sweep() == 0
    assert await keys(store, "0badcafe")
    assert await store.sweep(whole=True) == 1
    assert not await keys(store, "0badcafe")
    assert await keys(store, generation)
    assert await store.generation() == generation


async def test_a_rebuild_whose_place_was_taken(store: ViewStore) -> None:
    """It can neither go on, nor switch, nor write, and is told why; the one that took its place is not touched."""
    current = await store.begin()
    paused = await store.start_building()
    assert paused is not None
    await store._client.delete("attune:views:building")
    other = await store.start_building()
    assert other is not None
    for attempt in (
        store.keep_building(paused),
        store.switch(paused),
        store.apply(paused, [state(1)], building=True),
        store.mark(paused, "s", Mark(1), b"", building=True),
    ):
        with pytest.raises(Moved, match="another one could begin"):
            await attempt
    await store.give_up(paused)
    await store.keep_building(other)
    assert await store.generation() == current
    await store.give_up(other)


async def test_a_mark_is_replaced_only_by_who_knows_it(store: ViewStore) -> None:
    """Whoever has an older one in mind is told what stands there, and changes nothing."""
    generation = await store.begin()
    first, ours = await store.mark(generation, "s", Mark(5, position=4), b"")
    assert ours
    second, ours = await store.mark(generation, "s", Mark(9, position=8), first)
    assert ours
    assert await store.mark(generation, "s", Mark(6), first) == (second, False)
    assert parse_mark(second) == Mark(9, position=8)
    assert (await store.read(ANN)).marks == {"s": Mark(9, position=8)}
    assert (await store.standing()).marks == {"s": Mark(9, position=8)}


async def test_the_numbers_of_partitions(store: ViewStore) -> None:
    """Every reader has them; none becomes less, and whoever was replaced says nothing."""
    generation = await store.begin()
    assert (await store.read(ANN)).partitions == {}
    await store.set_partitions(generation, {"a": 6, "b": 6})
    await store.set_partitions(generation, {"a": 12, "b": 4})
    assert (await store.read(ANN)).partitions == {"a": 12, "b": 6}
    with pytest.raises(Moved):
        await store.set_partitions("another", {"a": 99})


async def test_a_store_that_is_away() -> None:
    """Away, whatever is asked."""
    async with clients.client("redis://127.0.0.1:1/0", seconds=1) as client:
        store = ViewStore(client)
        with pytest.raises(Away, match="Redis does not answer"):
            await store.generation()
        with pytest.raises(Away):
            await store.apply("g", [state(1)])
        with pytest.raises(Away):
            await store.read(ANN)


def test_a_mark_that_cannot_be_read_is_none() -> None:
    """Garbage, or one of a newer release: the partition is derived again."""
    assert parse_mark(b"{") is None
    assert parse_mark(b'{"next":"x"}') is None
    assert parse_mark(None) is None


def test_when_a_view_is_stale() -> None:
    """Older than allowed, never whole, or whole in the future."""
    now = int(time.time() * 1_000)
    assert stale_because(Mark(1, shown_ms=now - 9_000), now, 10) is None
    for mark in (None, Mark(1), Mark(1, shown_ms=now - 11_000), Mark(1, shown_ms=now + 11_000)):
        assert stale_because(mark, now, 10)
