"""Policies and models by their digest, read from their compacted topics and kept up to date."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from aiokafka import TopicPartition

from schemas.topics import MODELS, POLICIES

logger = logging.getLogger(__name__)


class Documents(Mapping[str, bytes]):
    """Raw documents by SHA-256 in hex.  Documents are immutable, so one that was read stays right."""

    def __init__(self) -> None:
        self._found: dict[str, bytes] = {}

    def __getitem__(self, sha256: str) -> bytes:
        return self._found[sha256]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, raw: bytes) -> None:
        """Take in one document."""
        self._found[hashlib.sha256(raw).hexdigest()] = raw

    async def read(self, consumer: Any) -> None:
        """Read both topics to their present ends; `consumer` is aiokafka's, started and without a group."""
        partitions = [TopicPartition(topic, 0) for topic in (POLICIES, MODELS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        await self._read_on(consumer)

    async def find(self, consumer: Any, sha256: str) -> bytes | None:
        """Return a document, None if there is none; all that was durable before the call is known by then."""
        if sha256 not in self:
            await (self._read_on(consumer) if consumer.assignment() else self.read(consumer))
        return self.get(sha256)

    async def _read_on(self, consumer: Any) -> None:
        ends = await consumer.end_offsets(consumer.assignment())
        for tp, end in ends.items():
            while await consumer.position(tp) < end:
                self._take(await consumer.getmany(tp, timeout_ms=200))

    async def follow(self, consumer: Any) -> None:
        """Go on reading for ever; call after `read` with the same consumer."""
        while True:
            try:
                self._take(await consumer.getmany(timeout_ms=1_000))
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a broker that is away must not end the worker: folds wait
                logger.warning("documents cannot be read now: %r", error)
                await asyncio.sleep(1.0)

    def _take(self, fetched: Mapping[Any, list[Any]]) -> None:
        for records in fetched.values():
            for record in records:
                if record.value is not None:
                    self.add(record.value)
