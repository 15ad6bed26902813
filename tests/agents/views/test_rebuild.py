"""`attune views rebuild`, `check` and `status`: the log alone gives the same views, and what differs is found."""

import asyncio
import json
import time
from typing import Any

import pytest

from agents.clients import valkey
from agents.clients.viewstore import BUILDING
from agents.engine.job import by_crc32
from agents.settings import variable
from agents.view import StateWrite
from agents.views import agent
from schemas import topics
from schemas.codec import EMBEDDED
from tests.agents.cli.conftest import Attune, Done
from tests.agents.views.scribe import Scribe, until
from tests.faults.harness import read_all

pytestmark = pytest.mark.kafka


@pytest.fixture
def views(scribe: Scribe, attune: Attune, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs `attune views ARGUMENTS` against the scribe's platform, in a thread."""
    settings = scribe.settings
    assert settings.kafka.bootstrap is not None
    assert settings.redis.url is not None
    assert settings.privacy.secret is not None
    monkeypatch.setenv(variable("kafka.bootstrap"), settings.kafka.bootstrap)
    monkeypatch.setenv(variable("redis.url"), settings.redis.url)
    monkeypatch.setenv(variable("privacy.secret"), settings.privacy.secret.get_secret_value())
    monkeypatch.setenv(variable("home"), str(settings.home))

    async def run(*arguments: str) -> Done:
        return await asyncio.to_thread(attune, "views", *arguments)

    return run


async def people(scribe: Scribe, count: int = 4) -> list[str]:
    """Return customers with states, actions and suppressions, flushed."""
    customers = [scribe.customer() for _ in range(count)]
    for customer in customers:
        scribe.consents(customer)
        scribe.buys(customer)
    scribe.interact(customers[0], "bill.disputed", reference="b", channel="TELEPHONY")
    await scribe.flush()
    return customers


async def test_a_rebuild_gives_the_live_views_byte_for_byte(scribe: Scribe, views: Any) -> None:
    """While the agent works and the fold goes on: another generation, the same hashes, nothing of the old one left."""
    customers = await people(scribe)
    async with scribe.agent() as work:
        await scribe.applied(work)
        assert await scribe.differences() == []  # the topic has everything by now, too
        before = await scribe.dump()
        async with scribe.store() as store:
            old = await store.generation()
        done = await views("rebuild", "--json")
        assert done.code == 0, done.err
        said = json.loads(done.out)
        assert await scribe.dump() == before
        assert (said["replaced"], said["published"]) == (old, 0)
        assert said["customers"] == sum(name.startswith("customer:") for name in before)
        assert f"actions:{customers[0]}" in before
        assert f"suppressions:{customers[0]}" in before
        async with valkey.client(scribe.settings.redis.url) as client:
            assert [key async for key in client.scan_iter(match=f"attune:views:{old}:*")] == []
            assert await client.get(BUILDING) is None
        scribe.buys(customers[1])
        await scribe.flush()
        await scribe.applied(work)
        assert await scribe.differences() == []


async def test_a_rebuild_removes_what_is_wrong(scribe: Scribe, views: Any) -> None:
    """A state at a position that is too high, somebody unknown, an old record behind a newer one in the topic."""
    first, second, ghost = *await people(scribe, 2), "f" * 32
    assert scribe.settings.kafka.bootstrap is not None
    async with scribe.agent() as work:
        await scribe.applied(work)
        assert await scribe.differences() == []
        right = await scribe.dump()
        async with scribe.store() as store:
            generation = await store.generation()
            assert generation is not None
            wrong = [
                StateWrite(first, "99999." + "9" * 16 + ".0", b'{"journal_offset":0}'),
                StateWrite(ghost, "1", b'{"journal_offset":0}'),
            ]
            assert await store.apply(generation, wrong) == [1, 1]
        records = await read_all(scribe.settings.kafka.bootstrap, topics.CUSTOMER_STATE)
        newest = next(record for record in reversed(records) if record.key == second.encode())
        state = EMBEDDED.decode(newest.value)
        older = {**state, "position": {**state["position"], "offset": 0}, "purchases": 0}
        spoilt = [(second, older), (ghost, {**older, "customer": ghost})]
        await scribe.send(
            [
                {
                    "topic": topics.CUSTOMER_STATE,
                    "partition": by_crc32("", customer.encode(), 6),
                    "key": customer.encode(),
                    "value": EMBEDDED.encode("CustomerState", content),
                }
                for customer, content in spoilt
            ]
        )
        done = await views("check", "--json", "--wait", "0")
        assert done.code == 1
        found = {(one["part"], one["customer"]): one["says"] for one in json.loads(done.out)["differences"]}
        assert set(found) == {("customer", first), ("customer", ghost), ("topic", second), ("topic", ghost)}
        assert "the log knows no such customer" in found["customer", ghost]
        assert "journal offset 0" in found["topic", second]
        done = await views("rebuild")
        assert done.code == 0, done.err
        assert "2 records of the topic differed" in done.out
        assert await scribe.dump() == right
        done = await views("check")
        assert done.code == 0, done.out + done.err
        assert "the views are as the log says" in done.out
        assert not work.done()


async def test_what_is_lacking_is_found(scribe: Scribe, views: Any) -> None:
    """Each part of a view: changed, gone, or too much; exit 1, with the field and what the fold gives."""
    first, *_ = await people(scribe)
    async with scribe.agent() as work:
        await scribe.applied(work)
    async with scribe.store() as store, valkey.client(scribe.settings.redis.url) as client:
        generation = await store.generation()
        stored = await scribe.read(first)
        state = json.loads(stored.state or b"")
        state["counts"]["events"] = 77
        prefix = f"attune:views:{generation}"
        await client.hset(f"{prefix}:customer:{first}", "state", json.dumps(state))  # type: ignore[misc]
        (action,) = stored.actions
        await client.hdel(f"{prefix}:actions:{first}", action)  # type: ignore[misc]
        (hold,) = stored.suppressions.items()
        await client.hset(f"{prefix}:suppressions:{first}", "another", hold[1])  # type: ignore[misc]
    done = await views("check", "--wait", "0", "--json")
    assert done.code == 1
    found = {one["part"]: one for one in json.loads(done.out)["differences"]}
    assert '"events":77' in found["customer"]["says"]
    assert found["actions"]["says"] == f"{action} is missing"
    assert found["suppressions"]["says"] == "another stands there, the fold gives none"
    assert {one["customer"] for one in found.values()} == {first}
    shown = await views("check", "--wait", "0")
    assert shown.code == 1
    assert "the views differ from the log" in shown.out
    assert (await views("rebuild")).code == 0
    assert await scribe.differences() == []


async def left_by_a_killed_rebuild(scribe: Scribe) -> str:
    """Return a generation whose rebuild was killed a minute ago, with something in it."""
    async with scribe.store() as store, valkey.client(scribe.settings.redis.url) as client:
        await store.begin()
        generation = await store.start_building()
        assert generation is not None
        await store.apply(generation, [StateWrite("f" * 32, "1", b"{}")], building=True)
        await client.delete(BUILDING)
        return generation


async def names(scribe: Scribe, generation: str) -> list[bytes]:
    """Return the keys of a generation."""
    async with valkey.client(scribe.settings.redis.url) as client:
        return [key async for key in client.scan_iter(match=f"attune:views:{generation}:*")]


async def test_a_killed_rebuild_leaves_nothing_for_good(
    scribe: Scribe, views: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next rebuild removes what it had written; so does an agent at work, without one."""
    await people(scribe, 1)
    left = await left_by_a_killed_rebuild(scribe)
    assert await names(scribe, left)
    assert (await views("rebuild")).code == 0
    assert not await names(scribe, left)
    left = await left_by_a_killed_rebuild(scribe)
    monkeypatch.setattr(agent, "_SWEEP_SECONDS", 0.2)
    async with scribe.agent() as work:

        async def removed() -> bool:
            return not await names(scribe, left)

        await until(removed, work)
        await scribe.applied(work)
        assert await scribe.differences() == []


async def test_two_rebuilds_exclude_each_other(scribe: Scribe, views: Any) -> None:
    """The second one is refused, with what to do, and leaves the first one's work alone."""
    await people(scribe, 1)
    async with scribe.store() as store:
        generation = await store.start_building()
        assert generation is not None
        done = await views("rebuild")
        assert done.code == 1
        assert "another rebuild is at work" in done.err
        assert "wait until it has ended" in done.err
        await store.keep_building(generation)
        await store.give_up(generation)


async def test_status_says_how_fresh_the_views_are(scribe: Scribe, views: Any) -> None:
    """Exit 0 and every partition fresh while the agent works; exit 1 once nobody has looked for long enough."""
    await people(scribe, 1)
    async with scribe.agent() as work:
        await scribe.applied(work)

        for _ in range(40):
            done = await views("status", "--json")
            if done.code == 0:
                break
            await asyncio.sleep(0.25)
        said = json.loads(done.out)
        assert done.code == 0, said
        assert not said["stale"]
        assert said["customers"] > 0
        assert len(said["sources"]) == 18
        assert all(one["lag"] == 0 and one["age_seconds"] < 10 for one in said["sources"])
    async with scribe.store() as store:
        generation = await store.generation()
        assert generation is not None
        marks = await store.marks(generation)
        async with valkey.client(scribe.settings.redis.url) as client:
            for name, mark in marks.items():
                aged = {**json.loads(mark), "shown_ms": json.loads(mark)["shown_ms"] - 60_000}
                await client.hset(f"attune:views:{generation}:marks", name, json.dumps(aged))  # type: ignore[misc]
            done = await views("status")
            assert done.code == 1
            assert "stale" in done.out
            for name, mark in marks.items():
                fresh = {**json.loads(mark), "shown_ms": int(time.time() * 1_000)}
                await client.hset(f"attune:views:{generation}:marks", name, json.dumps(fresh))  # type: ignore[misc]
            assert (await views("status")).code == 0
            await client.delete(f"attune:views:{generation}:partitions")
            done = await views("status")
            assert done.code == 1
            assert "has not said how many partitions" in done.out


async def test_without_views_the_remedy_is_named(scribe: Scribe, views: Any) -> None:
    """An empty Redis: exit 1, and what makes views."""
    async with valkey.client(scribe.settings.redis.url) as client:
        await client.flushall()
    done = await views("status")
    assert done.code == 1
    assert "there are no views yet" in done.err
    assert "attune worker views" in done.err
    assert (await views("rebuild")).code == 0
    assert await scribe.differences() == []
