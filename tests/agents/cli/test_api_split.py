"""`attune api` around a split of the journal: nobody is judged by a partition of others, however few are marked.

The application is the one of the command, in front of a real Valkey into which the tests write marks.
"""

import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from agents.cli import api
from agents.clients import valkey as clients
from agents.clients.viewstore import ViewStore
from agents.engine.job import by_crc32
from agents.settings import ApiSettings, PrivacySettings, RedisSettings, Settings
from agents.view import COPYING, StateWrite, state_position
from agents.views.documents import state_document
from schemas import identity, topics
from schemas.catalogue import CATALOGUE
from streams.customer import Customer
from tests.agents.api.conftest import asking
from tests.conftest import Redis

pytestmark = pytest.mark.kafka

BEFORE = CATALOGUE.topics[topics.JOURNAL].partitions
OUTPUTS = CATALOGUE.topics[topics.NEXT_BEST_ACTIONS].partitions
AFTER = 2 * BEFORE
OTHERS = (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)


class Views:
    """The views of a test, and the service in front of them."""

    def __init__(self, client: Any, store: ViewStore, generation: str, http: httpx.AsyncClient) -> None:
        self.client = client
        self.store = store
        self.generation = generation
        self.http = http

    async def numbers(self) -> None:
        """Say over how many partitions the views were made, as the agent does."""
        numbers = {topics.FOLD_CHANGELOG: BEFORE, **dict.fromkeys(OTHERS, OUTPUTS)}
        await self.client.hset(f"attune:views:{self.generation}:partitions", mapping=numbers)

    async def mark(self, topic: str, number: int, age_seconds: float = 0.0, **fields: Any) -> None:
        """Write a mark that is so old."""
        mark = {"next": 5, "position": 9, "shown_ms": int((time.time() - age_seconds) * 1_000), **fields}
        await self.client.hset(f"attune:views:{self.generation}:marks", f"{topic}/{number}", json.dumps(mark))

    async def states(self, *numbers: int, age_seconds: float = 0.0, **fields: Any) -> None:
        """Mark partitions of states; without `split_to` they were never split."""
        for number in numbers:
            await self.mark(topics.FOLD_CHANGELOG, number, age_seconds, **{"split_to": 0, **fields})

    async def outputs(self) -> None:
        """Mark every partition of actions and suppressions."""
        for topic in OTHERS:
            for number in range(OUTPUTS):
                await self.mark(topic, number)

    async def state(self, customer: str, partition: int) -> None:
        """Write a state."""
        document = state_document(customer, Customer(offset=3, first_seen_ms=1, last_seen_ms=2, events=1), None, None)
        await self.store.apply(self.generation, [StateWrite(customer, state_position(partition, 3, None), document)])

    async def get(self, customer: str) -> httpx.Response:
        """Ask for somebody by surrogate."""
        return await self.http.get(f"/v1/customers/attune:{customer}")


@pytest.fixture
async def views(valkey: Redis, tmp_path: Path) -> AsyncIterator[Views]:
    """Yield views without marks and numbers."""
    settings = Settings(
        home=tmp_path,
        redis=RedisSettings(url=valkey.url),
        api=ApiSettings(redis_seconds=0.99),  # a busy machine is no Redis that is away
        privacy=PrivacySettings(secret=SecretStr("0123456789abcdef0123456789abcdef")),
    )
    async with AsyncExitStack() as stack:
        client: Any = await stack.enter_async_context(clients.client(valkey.url))
        await client.delete("attune:views:current")
        store = ViewStore(client)
        generation = await store.begin()
        http, _ = await stack.enter_async_context(asking(api.service(settings)))
        yield Views(client, store, generation, http)
        await client.delete("attune:views:current")
        await store.give_up(generation)


def somebody(partition: int, partitions: int = AFTER, *, seed: int = 0) -> str:
    """Return a surrogate of a partition."""
    rng = random.Random(seed)
    while True:
        found = f"{rng.getrandbits(128):032x}"
        if identity.journal_partition(found, partitions) == partition:
            return found


@pytest.mark.parametrize("marked", range(AFTER))
async def test_a_redis_that_was_emptied_after_a_split(views: Views, marked: int) -> None:
    """Whichever marks are back: nobody is unknown or fresh whose own partition is not among them; nothing is ready."""
    await views.numbers()
    await views.outputs()
    back = random.Random(marked).sample(range(AFTER), marked)
    await views.states(*back, split_to=AFTER)
    lacking = [number for number in range(AFTER) if number not in back]
    for number in lacking:
        assert (await views.get(somebody(number))).status_code == 503
    await views.state(known := somebody(lacking[0], seed=1), lacking[0])
    answer = (await views.get(known)).json()
    assert answer["stale"], answer
    assert (await views.http.get("/readyz")).status_code == 503


async def test_all_marks_after_a_split(views: Views) -> None:
    """Unknown customers are unknown, known ones fresh and of their new partition; every partition counts as ready."""
    await views.numbers()
    await views.outputs()
    await views.states(*range(AFTER), split_to=AFTER)
    for number in range(AFTER):
        assert (await views.get(somebody(number))).status_code == 404
    await views.state(known := somebody(AFTER - 1), AFTER - 1)
    answer = (await views.get(known)).json()
    assert (answer["stale"], answer["freshness"]["partition"]) == (False, AFTER - 1)
    ready = await views.http.get("/readyz")
    assert ready.json() == {"status": "ready", "sources": AFTER + 2 * OUTPUTS}


async def test_numbers_that_nobody_has_said(views: Views) -> None:
    """An agent of an older release, or none yet: nothing is ready, fresh or unknown."""
    await views.outputs()
    await views.states(*range(BEFORE))
    assert (await views.get(somebody(0))).status_code == 503
    await views.state(known := somebody(1), 1)
    answer = (await views.get(known)).json()
    assert answer["stale"]
    assert "how many partitions" in answer["freshness"]["stale_because"][0]
    ready = await views.http.get("/readyz")
    assert ready.status_code == 503
    assert "how many partitions" in ready.json()["detail"]
    await views.numbers()
    assert (await views.http.get("/readyz")).status_code == 200
    assert not (await views.get(known)).json()["stale"]


async def test_marks_of_an_older_release(views: Views) -> None:
    """They do not say whether the partition was split: stale, with the reason."""
    await views.numbers()
    await views.outputs()
    await views.states(*range(BEFORE))
    await views.mark(topics.FOLD_CHANGELOG, 2)
    answer = await views.get(somebody(2))
    assert answer.status_code == 503
    assert "older release" in answer.json()["detail"]
    assert (await views.http.get("/readyz")).status_code == 503
    assert (await views.get(somebody(3))).status_code == 404


async def test_while_copies_are_made(views: Views) -> None:
    """The old partition decides: how far the copies go says nothing of what is written meanwhile."""
    await views.numbers()
    await views.outputs()
    await views.states(*range(BEFORE))
    await views.states(*range(BEFORE, AFTER), scored_by=COPYING)
    await views.state(mover := somebody(BEFORE + 3), 3)
    answer = (await views.get(mover)).json()
    assert (answer["stale"], answer["freshness"]["partition"]) == (False, 3)
    await views.states(3, age_seconds=60)
    assert (await views.get(mover)).json()["stale"]
    assert (await views.get(somebody(BEFORE + 3, seed=1))).status_code == 503


async def test_between_the_cut_and_the_end_of_the_copies(views: Views) -> None:
    """Both partitions count for who moves: by the new one it is known that nothing was written there yet."""
    await views.numbers()
    await views.outputs()
    await views.states(*range(BEFORE), split_to=AFTER)
    await views.state(mover := somebody(BEFORE + 3), 3)
    stayer = somebody(3)
    assert (await views.get(mover)).json()["stale"]
    assert (await views.get(stayer)).status_code == 404
    assert (await views.http.get("/readyz")).status_code == 503
    await views.states(*range(BEFORE, AFTER), split_to=0, scored_by=COPYING)
    answer = (await views.get(mover)).json()
    assert (answer["stale"], answer["freshness"]["partition"]) == (False, 3)
    await views.states(BEFORE + 3, split_to=AFTER, age_seconds=60)
    answer = (await views.get(mover)).json()
    assert (answer["stale"], answer["freshness"]["partition"]) == (True, BEFORE + 3)


async def test_a_second_split(views: Views) -> None:
    """Where the first partitions are split again before the others, those between still count."""
    await views.numbers()
    await views.outputs()
    await views.states(*range(BEFORE), split_to=2 * AFTER)
    await views.states(*range(AFTER, 2 * AFTER), scored_by=COPYING)
    mover = somebody(AFTER + BEFORE + 3, 2 * AFTER)
    for number in range(BEFORE, AFTER):
        await views.states(number, split_to=AFTER, age_seconds=60 if number == BEFORE + 3 else 0)
    assert (await views.get(mover)).status_code == 503
    await views.states(BEFORE + 3, split_to=AFTER)
    assert (await views.get(mover)).status_code == 404


async def test_a_partition_of_actions_that_is_not_marked(views: Views) -> None:
    """Where its topic has more partitions than the catalogue says, the number that the agent said counts."""
    await views.numbers()
    await views.outputs()
    await views.states(*range(BEFORE))
    await views.client.hset(f"attune:views:{views.generation}:partitions", topics.NEXT_BEST_ACTIONS, OUTPUTS + 1)
    lacking = next(
        one
        for one in (somebody(number % BEFORE, seed=number) for number in range(1_000))
        if by_crc32("", one.encode(), OUTPUTS + 1) == OUTPUTS
    )
    assert (await views.get(lacking)).status_code == 503
    assert (await views.http.get("/readyz")).status_code == 503
