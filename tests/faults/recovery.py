"""How long the main job takes to go on after something went wrong."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.clients import kafka
from agents.settings import KafkaSettings
from agents.topology import FOLD_GROUP, ROUTER_GROUP
from schemas import topics

_ANSWER_MS = 2_000
_POLL_SECONDS = 0.05


@dataclasses.dataclass
class Recovery:
    """A stop-watch of the cluster: started when a fault ends (or begins), read when everything is folded again.

    It stops once all interactions that had been appended by `over` are routed, and all that the journal held then is
    folded, durable and committed: half a second of it is the interval of commits.
    """

    connection: KafkaSettings
    seconds: float | None = None
    _begun: float = 0.0

    def begins(self) -> None:
        """Start it now."""
        self._begun = time.monotonic()

    async def over(self, *, within: float = 120.0) -> None:
        """Wait until all is folded and keep how long that took; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            await self._committed(ROUTER_GROUP, topics.INTERACTIONS)
            await self._committed(FOLD_GROUP, topics.JOURNAL)
        self.seconds = time.monotonic() - self._begun

    async def _committed(self, group: str, topic: str) -> None:
        wanted = await self._patiently(lambda: self._ends(topic))
        while any(
            offset < wanted[partition]
            for partition, offset in (await self._patiently(lambda: self._commits(group, wanted))).items()
        ):
            await asyncio.sleep(_POLL_SECONDS)

    async def _patiently(
        self, ask: Callable[[], Awaitable[Mapping[TopicPartition, int]]]
    ) -> Mapping[TopicPartition, int]:
        """Ask until a broker answers; one that is away is what this is for."""
        while True:
            try:
                return await ask()
            except (KafkaError, OSError):
                await asyncio.sleep(_POLL_SECONDS)

    async def _ends(self, topic: str) -> Mapping[TopicPartition, int]:
        client = kafka.consumer(self.connection, request_timeout_ms=_ANSWER_MS)
        await client.start()
        try:
            metadata: Any = await client._client.fetch_all_metadata()
            found: Mapping[TopicPartition, int] = await client.end_offsets(
                [TopicPartition(topic, number) for number in metadata.partitions_for_topic(topic) or ()]
            )
            return found
        finally:
            await client.stop()

    async def _commits(self, group: str, wanted: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        client = kafka.admin(self.connection, request_timeout_ms=_ANSWER_MS)
        await client.start()
        try:
            found = await client.list_consumer_group_offsets(group)
            return {partition: found[partition].offset if partition in found else -1 for partition in wanted}
        finally:
            await client.close()
