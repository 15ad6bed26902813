"""The view agent on real Kafka and Valkey: what the fold wrote is what the views say, whatever happens in between."""

import asyncio
import gc
import json
import logging
import os
import signal
import time
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaError

from agents.clients import kafka, valkey
from agents.engine import changelog
from agents.platform import process
from agents.profile import describe
from agents.settings import ViewSettings
from agents.topology import VIEWS_GROUP
from schemas import topics
from schemas.codec import EMBEDDED
from streams.documents import Documents
from streams.partition import PARTITION_KEY
from streams.state import STATE_CODEC
from tests.agents.views.scribe import OWNER, Scribe, until
from tests.faults.harness import read_all

pytestmark = pytest.mark.kafka


async def newest_in_topic(scribe: Scribe) -> dict[str, dict[str, Any]]:
    """Return what a reader of the state topic has of each customer, by its rule: not below what it has."""
    assert scribe.settings.kafka.bootstrap is not None
    found: dict[str, dict[str, Any]] = {}
    for record in await read_all(scribe.settings.kafka.bootstrap, topics.CUSTOMER_STATE):
        if record.value is None:
            found.pop(record.key.decode(), None)
            continue
        state = EMBEDDED.decode(record.value, "CustomerState")
        before = found.get(state["customer"])
        if before is None or before["position"]["offset"] <= state["position"]["offset"]:
            found[state["customer"]] = state
    return found


async def test_a_view_is_what_the_fold_has_of_a_customer(scribe: Scribe) -> None:
    """State, current action and suppression in Redis, and the state in its topic; the journal folded again agrees."""
    buyer, disputer = scribe.customer(), scribe.customer()
    for customer in (buyer, disputer):
        scribe.consents(customer)
        scribe.buys(customer)
    scribe.interact(disputer, "bill.disputed", reference="bill-7", channel="TELEPHONY")
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        assert await scribe.differences() == []
    view = await scribe.read(disputer)
    state = json.loads(view.state or b"")
    journal = scribe.of(disputer)
    customer, model = journal.customer(disputer), journal.state().model
    assert model is not None
    reference = {"name": model.name, "version": model.version, "sha256": model.sha256}
    scorer = Documents(journal.documents).scorer(model)
    assert state == {**describe(disputer, customer, customer.last_seen_ms, scorer, reference), "answered": []}
    assert state["risk"]["churn"] > 0
    (hold,) = (json.loads(document) for document in view.suppressions.values())
    assert (hold["scope"], hold["evidence"]) == ("MARKETING", state["suppressions"][0]["evidence"])
    (action,) = (json.loads(document) for document in view.actions.values())
    assert action["action"] == "dispute-receipt"
    assert action["decision"] in view.actions
    assert {one["decision"] for one in state["in_flight"]} == set(view.actions)
    assert scribe.mark(disputer, view).position >= state["journal_offset"]
    published = (await newest_in_topic(scribe))[disputer]
    assert published["position"] == {"partition": journal.partition, "offset": customer.offset}
    assert published["churn_risk"] == state["risk"]["churn"]
    assert published["open_disputes"] == ["bill-7"]
    assert published["scored_by"] == reference
    assert published["suppressions"] == list(view.suppressions)


async def test_outputs_that_are_repeated_change_nothing(scribe: Scribe) -> None:
    """After a crash of the fold a proposal comes once more, behind its recall: it stays recalled."""
    customer = scribe.customer()
    scribe.consents(customer)
    scribe.buys(customer)
    scribe.interact(customer, "bill.disputed", reference="b", channel="TELEPHONY")
    scribe.interact(customer, "dispute.resolved", reference="b", channel="TELEPHONY")
    before = len(scribe.outputs)
    await scribe.flush()
    mine = [sent for sent in scribe.outputs[before:] if sent["key"] == customer.encode()]
    assert len(mine) > 3
    async with scribe.agent() as work:
        await scribe.applied(work)
        view = await scribe.read(customer)
        assert not view.suppressions
        started = [sent for sent in mine if EMBEDDED.decode(sent["value"]).get("status") == "STARTED"]
        assert started
        for repeated in (started, mine):  # a crash may come in the middle of the repetition, too
            await scribe.send(repeated)
            scribe.outputs += repeated
            await scribe.applied(work)
            assert not (await scribe.read(customer)).suppressions
        again = await scribe.read(customer)
        assert (again.state, again.actions, again.suppressions) == (view.state, view.actions, view.suppressions)
        assert await scribe.differences() == []


async def test_a_late_append_of_a_frozen_fold(scribe: Scribe) -> None:
    """A state with an older fence behind a newer one changes neither Redis nor the topic."""
    customer = scribe.customer()
    journal = scribe.of(customer)
    scribe.buys(customer, 100)
    await scribe.flush()
    late = scribe.batch(journal, [customer.encode()], len(journal.records) - 1)
    scribe.buys(customer, 200)
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        before = await scribe.read(customer)
        await scribe.send(late)
        scribe.buys(other := scribe.customer(journal.partition))
        await scribe.flush()
        await scribe.applied(work)
        after = await scribe.read(customer)
        assert (after.state, after.state_position) == (before.state, before.state_position)
        assert json.loads(after.state or b"")["purchases"]["spend_minor"] == 300
        assert (await scribe.read(other)).state is not None
        assert await scribe.differences() == []
    assert (await newest_in_topic(scribe))[customer]["spend_minor"] == 300


async def test_a_restart_goes_on_where_the_views_stand(scribe: Scribe) -> None:
    """What was folded while no agent ran is there after the next start; what was there is not derived again."""
    first, second = scribe.customer(), scribe.customer()
    scribe.buys(first)
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
    scribe.buys(first)
    scribe.buys(second)
    await scribe.flush()
    assert json.loads((await scribe.read(first)).state or b"")["purchases"]["frequency"] == 1
    async with scribe.agent() as work:
        await scribe.applied(work)
        assert json.loads((await scribe.read(first)).state or b"")["purchases"]["frequency"] == 2
        assert (await scribe.read(second)).state is not None
        assert await scribe.differences() == []


async def test_an_answer_takes_an_action_out(scribe: Scribe) -> None:
    """The state names the decisions that the customer has accepted: they are current no more."""
    customer = scribe.customer()
    scribe.consents(customer)
    scribe.buys(customer)
    scribe.interact(customer, "bill.disputed", reference="b", channel="TELEPHONY")
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        (decision,) = (await scribe.read(customer)).actions
        scribe.interact(customer, "offer.accepted", decision_id=decision, channel="E_COMMERCE")
        await scribe.flush()
        await scribe.applied(work)
        assert json.loads((await scribe.read(customer)).state or b"")["answered"] == [decision]


async def member_ids(scribe: Scribe) -> list[str]:
    """Return the members of the group."""
    admin = kafka.admin(scribe.settings.kafka)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([VIEWS_GROUP])
        return sorted(member[0] for member in answer.groups[0][5])
    finally:
        await admin.close()


async def test_redis_is_frozen_and_thaws(scribe: Scribe, caplog: pytest.LogCaptureFixture) -> None:
    """The agent says that it waits, stays in its group, and loses nothing."""
    customer = scribe.customer()
    scribe.buys(customer)
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        before = await member_ids(scribe)
        pid = scribe.platform.status().valkey_pid
        assert pid is not None
        with caplog.at_level(logging.WARNING, "agents.views"):
            os.kill(pid, signal.SIGSTOP)
            try:
                scribe.buys(customer)
                await scribe.flush()

                async def says_so() -> bool:
                    return any("waiting, and nothing is lost" in record.message for record in caplog.records)

                await until(says_so, work)
                assert await member_ids(scribe) == before
            finally:
                os.kill(pid, signal.SIGCONT)
        await scribe.applied(work)
        assert json.loads((await scribe.read(customer)).state or b"")["purchases"]["frequency"] == 2
        assert await member_ids(scribe) == before
        assert await scribe.differences() == []


async def test_redis_is_killed_and_comes_back(scribe: Scribe) -> None:
    """Scripts that a new server does not know are loaded again; the work goes on."""
    customer = scribe.customer()
    scribe.buys(customer)
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        pid = scribe.platform.status().valkey_pid
        assert pid is not None
        process.stop(pid, kill=True)
        scribe.buys(customer)
        await scribe.flush()
        await asyncio.sleep(1)
        scribe.platform.start()
        await scribe.applied(work)
        assert json.loads((await scribe.read(customer)).state or b"")["purchases"]["frequency"] == 2
        assert await scribe.differences() == []


async def test_a_redis_that_was_emptied_is_filled_again(scribe: Scribe) -> None:
    """An agent at work finds that its generation is gone and derives everything from the log, into the same bytes."""
    customer = scribe.customer()
    scribe.consents(customer)
    scribe.buys(customer)
    scribe.interact(customer, "bill.disputed", reference="b", channel="TELEPHONY")
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        before = await scribe.dump()
        async with valkey.client(scribe.settings.redis.url) as client:
            await client.flushall()
        await scribe.applied(work)
        assert await scribe.dump() == before
        assert f"customer:{customer}" in before
        assert await scribe.differences() == []


async def test_a_redis_that_came_back_from_an_older_copy(scribe: Scribe) -> None:
    """The marks went back with the data, so what is lacking is written again though the group had committed it."""
    customer = scribe.customer()
    scribe.buys(customer)
    await scribe.flush()
    async with scribe.agent() as work:
        await scribe.applied(work)
        async with valkey.client(scribe.settings.redis.url) as client:
            keys = [key async for key in client.scan_iter(match="attune:views:*")]
            copies = {key: await client.dump(key) for key in keys}
            scribe.buys(customer)
            await scribe.flush()
            await scribe.applied(work)
            for key, copy in copies.items():
                await client.restore(key, 0, copy, replace=True)
        assert json.loads((await scribe.read(customer)).state or b"")["purchases"]["frequency"] == 1
        await scribe.applied(work)
        assert json.loads((await scribe.read(customer)).state or b"")["purchases"]["frequency"] == 2
        assert await scribe.differences() == []


async def test_two_agents_share_the_work_and_one_leaves(scribe: Scribe) -> None:
    """Both are members and have partitions; a rebalance loses nothing and doubles nothing."""
    customers = [scribe.customer() for _ in range(30)]
    async with scribe.agent() as first:
        await scribe.applied(first)
        async with scribe.agent() as second:

            async def both() -> bool:
                return len(await member_ids(scribe)) == 2

            await until(both, first, second)
            for customer in customers[:20]:
                scribe.buys(customer)
                await scribe.flush()
            await scribe.applied(first, second)
        for customer in customers[10:]:
            scribe.buys(customer)
        await scribe.flush()
        await scribe.applied(first)
        assert await scribe.differences() == []


async def test_a_fold_that_stands_still_makes_the_views_stale(scribe: Scribe) -> None:
    """What stands in the journal and was not folded is not shown: only once it is, the views are whole again."""
    customer = scribe.customer()
    journal = scribe.of(customer)

    async def shown_ms() -> int:
        return scribe.mark(customer, await scribe.read(customer)).shown_ms

    async with scribe.agent() as work:
        await scribe.applied(work)
        begun_ms = time.time() * 1_000

        async def looked() -> bool:
            return await shown_ms() > begun_ms

        await until(looked, work)
        scribe.buys(customer)
        record, _ = journal.told[-1]
        place = {"topic": topics.JOURNAL, "partition": journal.partition}
        await scribe.send([{**place, "key": record.key, "value": record.value, "headers": record.headers}])
        appended_ms = time.time() * 1_000
        await asyncio.sleep(2.5)  # two looks
        assert await shown_ms() < appended_ms
        await scribe.flush(journal=False)

        async def whole() -> bool:
            return await shown_ms() > appended_ms

        await until(whole, work)
        assert (await scribe.read(customer)).state is not None


async def test_it_is_stopped_while_kafka_is_away(
    scribe: Scribe, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be published is left to the next owner: the agent ends in order, and nothing is lost."""
    slow = scribe.settings.model_copy(update={"views": ViewSettings(publish_seconds=2.0)})
    monkeypatch.setattr(scribe, "settings", slow)  # so that there is something to publish once Kafka is frozen
    customers = [scribe.customer(number % 6) for number in range(12)]
    pid = scribe.platform.status().kafka_pid
    assert pid is not None
    async with scribe.agent() as work:
        await scribe.applied(work)
        for customer in customers:
            scribe.buys(customer)
        await scribe.flush()

        async def shown() -> bool:
            return all([(await scribe.read(customer)).state is not None for customer in customers])

        await until(shown, work)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(3)
            work.cancel()
            done, _ = await asyncio.wait([work], timeout=120)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert done
        assert work.cancelled()
    gc.collect()
    assert "Unclosed" not in caplog.text

    async def whole() -> bool:
        try:
            async with scribe.agent() as work:
                await scribe.applied(work)
                return await scribe.differences() == []
        except (KafkaError, ExceptionGroup):  # a broker that has thawed needs a moment
            return False

    await until(whole, seconds=90)


async def test_the_marks_say_whether_the_journal_was_split(scribe: Scribe) -> None:
    """With the numbers of partitions; where an older release wrote the marks, the partitions are read once more."""
    customer = scribe.customer()
    scribe.buys(customer)
    await scribe.flush()
    numbers = {topics.FOLD_CHANGELOG: 6, topics.NEXT_BEST_ACTIONS: 6, topics.SUPPRESSIONS: 6}
    async with scribe.agent() as work:
        await scribe.applied(work)
        stored = await scribe.read(customer)
        assert (stored.partitions, scribe.mark(customer, stored).split_to) == (numbers, 0)
    async with scribe.store() as store, valkey.client(scribe.settings.redis.url) as client:
        generation = await store.generation()
        await client.delete(f"attune:views:{generation}:partitions")
        for name, mark in (await store.marks(str(generation))).items():
            older = {field: value for field, value in json.loads(mark).items() if field != "split_to"}
            await client.hset(f"attune:views:{generation}:marks", name, json.dumps(older))  # type: ignore[misc]
    async with scribe.agent() as work:

        async def said() -> bool:
            stored = await scribe.read(customer)
            return (stored.partitions, scribe.mark(customer, stored).split_to) == (numbers, 0)

        await until(said, work)
        assert await scribe.differences() == []
    journal = scribe.of(customer)
    split = journal.state()
    key, encoded = PARTITION_KEY, STATE_CODEC.encode(msgspec.structs.replace(split, split_to=12))
    fence = len(journal.records) - 1
    (entries,) = [changelog.batch([(key, encoded)], fence, 6, OWNER)]
    await scribe.send(
        [
            {"topic": topics.FOLD_CHANGELOG, "partition": journal.partition, "key": k, "value": v, "headers": list(h)}
            for k, v, h in entries
        ]
    )
    async with scribe.agent() as work:

        async def split_to() -> bool:
            return scribe.mark(customer, await scribe.read(customer)).split_to == 12

        await until(split_to, work)
    async with valkey.client(scribe.settings.redis.url) as client:
        await client.flushall()
    async with scribe.agent() as work:
        await scribe.applied(work)
        assert await split_to()
    await scribe.send(scribe.batch(journal, [PARTITION_KEY], fence))  # as it was, for the tests to come
