"""The contest of the router: the shipped worker over interactions, one in twenty with personal data to be sealed."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.clients import sealing, valkey
from agents.clients.keystore import ValkeyKeyStore
from agents.inbound.publisher import headers_of
from agents.ops import topics as topic_admin
from agents.topology import ROUTER_GROUP
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.identity import customer_of_key, journal_partition
from schemas.sealed import Sealed
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import Cluster, Item
from tests.benchmarks.shipped import SECRET
from tests.benchmarks.verdict import Verdict, differences, repetitions
from tests.streams.journal import START, interaction

PERSONAL = 0.05
CUSTOMERS = 10_000
_PARTITIONS = CATALOGUE.topics[topics.INTERACTIONS].partitions
_JOURNAL_PARTITIONS = CATALOGUE.topics[topics.JOURNAL].partitions

Routed = tuple[int, bytes | None, Any]
"""Journal partition, key, and the value: bytes, or the decoded interaction where personal data were sealed."""


class RouterContest:
    """One set of interactions, routed by each run."""

    def __init__(self, cluster: Cluster, events: int) -> None:
        self._cluster = cluster
        self._events = events
        self._starts: dict[str, dict[int, int]] = {}
        self._expected: dict[bytes, Routed] = {}

    async def publish(self) -> None:
        await topic_admin.apply(self._cluster.admin, CATALOGUE, replication=1)
        await self._cluster.fill(topics.INTERACTIONS, self._items())
        async for record in self._cluster.read(topics.INTERACTIONS):
            customer = customer_of_key(SECRET.encode(), record.key)
            personal = names.first(record.headers, names.PERSONAL) is not None
            value = EMBEDDED.decode(record.value, "Interaction") if personal else record.value
            routed = journal_partition(customer, _JOURNAL_PARTITIONS), customer.encode(), value
            self._expected[_origin(record.topic, record.partition, record.offset)] = routed

    async def prepare(self, contender: str, folder: Path, turn: int) -> Assignment:
        cluster = self._cluster
        if self._starts:
            await cluster.rewind(ROUTER_GROUP, topics.INTERACTIONS)
        self._starts = {topic: await cluster.ends(topic) for topic in (topics.JOURNAL, topics.INTERACTIONS_DEAD)}
        return Assignment(
            contender=contender,
            bootstrap=cluster.bootstrap,
            redis_url=cluster.redis_url,
            folder=str(folder),
            group=ROUTER_GROUP,
            source=topics.INTERACTIONS,
        )

    async def ends(self, assignment: Assignment) -> dict[int, int]:
        return {p: end for p, end in (await self._cluster.ends(topics.INTERACTIONS)).items() if end}

    async def judge(self, assignment: Assignment) -> Verdict:
        cluster = self._cluster
        found: dict[bytes, Routed] = {}
        copies = sealed = 0
        client = valkey.client(cluster.redis_url)
        keys = ValkeyKeyStore(client)
        async for record in cluster.read(topics.JOURNAL, self._starts[topics.JOURNAL]):
            copies += 1
            origin = names.first(record.headers, names.ORIGIN) or b""
            value = record.value
            if isinstance(self._expected.get(origin, (0, None, b""))[2], dict):
                sealed += 1
                value = await _opened(EMBEDDED.decode(record.value, "Interaction"), keys)
            found[origin] = record.partition, record.key, value
        await client.aclose()
        dead = sum((await cluster.ends(topics.INTERACTIONS_DEAD)).values())
        dead -= sum(self._starts[topics.INTERACTIONS_DEAD].values())
        wrong = [
            *differences("journal", found, self._expected),
            *repetitions("journal", copies, len(found)),
            *([f"{dead} dead letters"] if dead else []),
        ]
        return Verdict(tuple(wrong), {"outputs": copies, "sealed": sealed})

    async def clear(self, assignment: Assignment) -> None:
        """Nothing: the journal is read from where it ended before."""

    def _items(self) -> Iterator[Item]:
        chance = random.Random(11)
        for number in range(self._events):
            customer = chance.randrange(CUSTOMERS)
            event = interaction(
                "purchase.made",
                event_id=f"event-{number}",
                source="shop",
                channel="OUTLET",
                touchpoint="store-330",
                occurred_at=START + number * 1_000,
                amount_minor=chance.randrange(100, 20_000),
                currency="USD",
                reference=f"basket-{number}",
            )
            if chance.random() < PERSONAL:
                identifiers = {"email": f"{customer}@example.invalid"}
                event["personal"] = {"identifiers": identifiers, "fields": {"name": f"Customer {customer}"}}
            key = b"household:%d" % customer
            yield customer % _PARTITIONS, key, EMBEDDED.encode("Interaction", event), headers_of(event)


def _origin(topic: str, partition: int, offset: int) -> bytes:
    return bytes(names.Origin(topic, partition, offset))


async def _opened(event: dict[str, Any], keys: ValkeyKeyStore) -> dict[str, Any]:
    """Return the interaction with its personal block in the clear again."""
    block = Sealed(**event["personal"])
    event["personal"] = json.loads(sealing.unseal(block, await keys.get(block.key_id)))
    return event
