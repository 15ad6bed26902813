"""A fold that a test holds in its hand: it folds in memory and appends to real topics what the fold would append."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from agents import workers
from agents.cli.views_check import compare
from agents.clients import kafka, valkey
from agents.clients.viewstore import ViewStore, parse_mark
from agents.engine import changelog
from agents.engine.job import by_crc32
from agents.metrics import Gate
from agents.platform.local import LocalPlatform
from agents.settings import Settings
from agents.view import Mark, Stored
from schemas import headers as names
from schemas import identity, topics
from schemas.catalogue import CATALOGUE
from streams.partition import PARTITION_KEY
from tests.streams.journal import MODEL, PACK, Journal, Record

PARTITIONS = CATALOGUE.topics[topics.JOURNAL].partitions
OWNER = bytes(16)

Sent = dict[str, Any]
"""Keyword arguments of a producer's `send`."""


class Kept(Journal):
    """A journal that remembers which outputs each record had."""

    def __init__(self, partition: int) -> None:
        self.told: list[tuple[Record, list[Any]]] = []
        super().__init__(policy=None, model=None, partition=partition)

    def fold(self, record: Record) -> list[Any]:
        outputs = super().fold(record)
        self.told.append((record, outputs))
        return outputs


class Scribe:
    """All partitions of the journal, in memory and, once `flush` has returned, in the topics."""

    def __init__(self, settings: Settings, platform: LocalPlatform) -> None:
        self.settings = settings
        self.platform = platform
        self.journals = [Kept(number) for number in range(PARTITIONS)]
        self.now_ms = int(time.time() * 1_000)
        self._told = [0] * PARTITIONS
        self._names = 0
        self.outputs: list[Sent] = []
        """Every output so far, as it was sent."""

    def customer(self, partition: int | None = None) -> str:
        """Return the surrogate of somebody new, of a certain partition if that is asked for."""
        while True:
            self._names += 1
            found = hashlib.md5(b"somebody %d" % self._names).hexdigest()
            if partition is None or identity.journal_partition(found, PARTITIONS) == partition:
                return found

    def of(self, customer: str) -> Kept:
        """Return the partition of a customer."""
        return self.journals[identity.journal_partition(customer, PARTITIONS)]

    def activate(self, kind: str, raw: bytes, sequence: int) -> None:
        """Make a document active everywhere."""
        for journal in self.journals:
            journal.activate(kind, raw, sequence)

    def interact(self, customer: str, kind: str, **fields: Any) -> None:
        """Append an interaction of now."""
        self.of(customer).interact(kind, customer, occurred_at=self.now_ms, **fields)

    def tick(self) -> None:
        """Move every clock to now."""
        self.now_ms = max(self.now_ms + 1, int(time.time() * 1_000))
        for journal in self.journals:
            journal.tick(self.now_ms)

    def buys(self, customer: str, amount: int = 12_500) -> None:
        """Let somebody buy so much that the shipped policy decides."""
        self.interact(customer, "purchase.made", amount_minor=amount, currency="EUR", channel="OUTLET")

    def consents(self, customer: str) -> None:
        """Let somebody allow marketing."""
        self.interact(customer, "consent.given", attributes={"purpose": "marketing"})

    async def flush(self, *, journal: bool = True) -> None:
        """Append everything as the fold does: outputs, then one changelog batch a partition with its watermark.

        Without `journal` the records stand there already.
        """
        records: list[Sent] = []
        outputs: list[Sent] = []
        states: list[Sent] = []
        for kept in self.journals:
            told = kept.told[self._told[kept.partition] :]
            self._told[kept.partition] = len(kept.told)
            changed: dict[bytes, None] = {}
            for record, found in told:
                records.append(_sent(topics.JOURNAL, kept.partition, record.key, record.value, record.headers))
                for index, output in enumerate(found):
                    topic, key, value, headers = output.raw
                    position = bytes(names.Position(kept.partition, record.offset, index))
                    count = CATALOGUE.topics[topic].partitions
                    outputs.append(
                        _sent(topic, by_crc32(topic, key, count), key, value, [*headers, (names.POSITION, position)])
                    )
                if record.key is not None:
                    changed[record.key] = None
            if told:
                keys = [*(key for key in changed if key in kept.table.rest), PARTITION_KEY]
                states += self.batch(kept, keys, told[-1][0].offset)
        self.outputs += outputs
        for group in (records if journal else [], outputs, states):
            await self.send(group)

    def batch(self, journal: Kept, keys: list[bytes], fence: int) -> list[Sent]:
        """Return a changelog batch of these keys, as they are in memory now."""
        changes = [(key, journal.table.rest.get(key)) for key in keys]
        entries = changelog.batch(changes, fence, PARTITIONS, OWNER)
        return [_sent(topics.FOLD_CHANGELOG, journal.partition, *entry) for entry in entries]

    async def send(self, sent: list[Sent]) -> None:
        """Append records in their order."""
        producer = kafka.producer(self.settings.kafka, linger_ms=2)
        await producer.start()
        try:
            for future in [await producer.send(**one) for one in sent]:
                await future
        finally:
            await producer.stop()

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Yield a view agent at work."""
        work = asyncio.create_task(workers.keep_views(self.settings, Gate("Kafka")))
        try:
            yield work
        finally:
            if not work.done():
                work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[ViewStore]:
        """Yield the views."""
        async with valkey.client(self.settings.redis.url) as client:
            yield ViewStore(client)

    async def applied(self, *works: "asyncio.Task[None]", seconds: float = 30) -> None:
        """Wait until the views contain everything that was flushed."""
        async with self.store() as store:

            async def done() -> bool:
                generation = await store.generation()
                if generation is None:
                    return False
                marks = {name: parse_mark(mark) for name, mark in (await store.marks(generation)).items()}
                for journal in self.journals:
                    mark = marks.get(f"{topics.FOLD_CHANGELOG}/{journal.partition}")
                    if mark is None or mark.position < len(journal.records) - 1 or mark.scored_by != _scored(mark):
                        return False
                counts: dict[str, int] = {}
                for sent in self.outputs:
                    place = f"{sent['topic']}/{sent['partition']}"
                    counts[place] = counts.get(place, 0) + 1
                return all(place in marks and marks[place].next >= count for place, count in counts.items())  # type: ignore[union-attr]

            await until(done, *works, seconds=seconds)

    def mark(self, customer: str, stored: Stored) -> Mark:
        """Return the mark of somebody's partition of the changelog."""
        return stored.marks.get(f"{topics.FOLD_CHANGELOG}/{self.of(customer).partition}") or Mark(0)

    async def read(self, customer: str) -> Stored:
        """Return the view of somebody."""
        async with self.store() as store:
            return await store.read(customer)

    async def differences(self, wait: float = 15.0) -> list[dict[str, str]]:
        """Fold the journal again and return what differs, as `attune views check` does."""
        async with self.store() as store:
            generation = await store.generation()
            assert generation is not None
            found = await compare(self.settings, store, generation, wait, None)
        assert found["customers"] > 0
        return list(found["differences"])

    async def dump(self) -> dict[str, dict[bytes, bytes]]:
        """Return every hash of the generation in use but the marks, without the generation's name."""
        async with valkey.client(self.settings.redis.url) as client:
            generation = (await client.get("attune:views:current") or b"").decode()
            found: dict[str, dict[bytes, bytes]] = {}
            async for key in client.scan_iter(match=f"attune:views:{generation}:*"):
                name = key.decode().removeprefix(f"attune:views:{generation}:")
                if name != "marks":
                    found[name] = await client.hgetall(key)  # type: ignore[misc]
            return found


def _scored(mark: Any) -> str | None:
    return None if mark.model is None else str(mark.model.sha256)


def _sent(topic: str, partition: int, key: Any, value: Any, headers: Any) -> Sent:
    return {"topic": topic, "partition": partition, "key": key, "value": value, "headers": list(headers)}


async def until(ready: Callable[[], Awaitable[bool]], *works: "asyncio.Task[None]", seconds: float = 30) -> None:
    """Wait for something, unless what works on it has ended."""
    deadline = time.monotonic() + seconds
    while not await ready():
        for work in works:
            if work.done():
                work.result()
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.05)


def documents() -> Iterator[tuple[str, bytes]]:
    """Yield the documents that are published from the start, by kind."""
    yield "MODEL", MODEL
    yield "POLICY", PACK
