"""The client of Valkey: a task that uses it can be cancelled at any moment."""

import asyncio
import random

import pytest

from agents.clients import valkey as clients
from tests.conftest import Redis

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("kind", ["pipeline", "command"])
async def test_no_cancellation_is_forgotten(valkey: Redis, kind: str) -> None:
    """However it falls, the task ends, and the client goes on to work for others."""
    rng = random.Random(3)
    async with clients.client(valkey.url) as client:

        async def work() -> None:
            while True:
                if kind == "pipeline":
                    pipe = client.pipeline(transaction=False)
                    for number in range(5):
                        pipe.hset("attune:test:cancelled", str(number), "x")
                    await pipe.execute(raise_on_error=False)
                else:
                    await client.hget("attune:test:cancelled", "1")  # type: ignore[misc]

        for _ in range(200):
            task = asyncio.create_task(work())
            await asyncio.sleep(rng.random() * 0.003)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5)
            assert done, "it goes on"
            assert task.cancelled()
        assert await client.ping()  # type: ignore[misc]
        await client.delete("attune:test:cancelled")
