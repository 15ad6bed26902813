"""Sees in Redis when a state becomes visible: told by Redis itself of each change of a few customers."""

import asyncio
import json
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import redis.asyncio

from agents.view import place


class Sight(NamedTuple):
    """One state that was seen: when (ms since 1970), the fence that it has, the journal offset in it."""

    at_ms: float
    fence: int
    offset: int


class Observer:
    """Watches customers of one generation until `stop`."""

    def __init__(self, client: redis.asyncio.Redis, generation: str, customers: Iterable[str]) -> None:
        self._client: Any = client
        self._prefix = f"attune:views:{generation}:customer:"
        self.seen: dict[str, list[Sight]] = {customer: [] for customer in customers}

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._client.config_set("notify-keyspace-events", "Kh")
        async with self._client.pubsub() as subscription:
            channels = [f"__keyspace@0__:{self._prefix}{customer}" for customer in self.seen]
            await subscription.subscribe(*channels)
            async for message in subscription.listen():
                if message["type"] == "message":
                    at_ms = time.time() * 1_000
                    customer = message["channel"].decode().rpartition(":")[2]
                    await self._look(customer, at_ms)

    async def _look(self, customer: str, at_ms: float) -> None:
        position, state = await self._client.hmget(self._prefix + customer, "position", "state")
        if state is None:
            return  # told of the position, which is written first: another message follows
        sight = Sight(at_ms, place(position.decode())[1], int(json.loads(state)["journal_offset"]))
        sights = self.seen[customer]
        if not sights or sights[-1].fence != sight.fence:
            sights.append(sight)

    async def settled(self) -> None:
        """Wait a moment for messages that are under way."""
        await asyncio.sleep(1.0)
