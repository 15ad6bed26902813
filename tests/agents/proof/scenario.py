"""Topics written by hand as router and fold would leave them, with a tiny step, so that single things can be spoilt."""

import dataclasses
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from agents.engine import changelog
from agents.proof.oracle import prove
from agents.proof.report import Report
from agents.proof.subject import Clients, Places, Reference
from schemas import deadletter, identity
from schemas import headers as names
from schemas.codec import EMBEDDED, fingerprint_of

SECRET = b"s" * 32
PARTITIONS = 2
MARKS = b"\x00partition"

EVENT: dict[str, Any] = {
    "type": "purchase.made",
    "event_id": "e",
    "occurred_at": 1_700_000_000_000,
    "channel": "OUTLET",
    "source": "till",
    "touchpoint": "",
    "amount_minor": 100,
    "currency": "EUR",
    "reference": None,
    "decision_id": None,
    "attributes": {"b": "2", "a": "1"},
    "personal": None,
}


class JsonCodec:
    """States as JSON."""

    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value).encode()

    def decode(self, encoded: bytes, /) -> Any:
        return json.loads(encoded)


def step(actions: str) -> Callable[[Any, Any], list[Any]]:
    """Return a fold that sums amounts, sends the sum at every second event, and refuses 13."""

    def fold(table: Any, record: Any) -> list[Any]:
        headers = dict(record.headers)
        if headers[names.KIND] != b"interaction":
            return []
        origin, _, offset = headers[names.ORIGIN].decode().rpartition("/")
        marks = table.get(MARKS) or {}
        if int(offset) <= marks.get(origin, -1):
            return []
        amount = EMBEDDED.decode(record.value)["amount_minor"]
        state = table.get(record.key) or {"count": 0, "sum": 0}
        state["count"] += 1
        state["sum"] += amount
        table.set(record.key, state)
        marks[origin] = int(offset)
        table.set(MARKS, marks)
        if amount == 13:
            raise ValueError("13")
        if state["count"] % 2:
            return []
        return [(actions, record.key, json.dumps(state).encode(), [("ce_id", b"%d" % record.offset)])]

    return fold


def partition_of(_topic: str, key: bytes | None, count: int) -> int:
    return zlib.crc32(key or b"") % count


@dataclasses.dataclass
class Row:
    """A record of the journal before it is written."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int = 0


@dataclasses.dataclass
class Scenario:
    """Hand-made topics.  Offsets are counted here, since every topic is new and only this writes to it."""

    bootstrap: str
    places: Places
    reference: Reference
    producer: AIOKafkaProducer
    next_offset: dict[tuple[str, int], int] = dataclasses.field(default_factory=dict)
    journal: list[Row] = dataclasses.field(default_factory=list)
    states: dict[int, dict[bytes, bytes]] = dataclasses.field(default_factory=dict)
    folded: dict[int, int] = dataclasses.field(default_factory=dict)

    @property
    def actions(self) -> str:
        return self.places.outputs[0]

    async def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> int:
        """Append a record and return its offset."""
        sent = await self.producer.send_and_wait(topic, value, key=key, partition=partition, headers=headers)
        return int(sent.offset)

    async def interact(self, customer: int, amount: int, *, personal: dict[str, Any] | None = None) -> Row:
        """Publish an interaction and return the journal row that its router owes."""
        key = f"household:{customer}".encode()
        value = EMBEDDED.encode("Interaction", {**EVENT, "amount_minor": amount, "personal": personal})
        headers = [(names.TYPE, b"attune.interaction.purchase.made"), (names.ID, b"e")]
        marked = [*headers, (names.PERSONAL, b"1")] if personal else headers
        offset = await self.send(self.places.interactions, customer % PARTITIONS, key, value, marked)
        if personal:
            sealed = {"key_id": "k", "nonce": b"n" * 12, "ciphertext": b"c" * 30}
            value = EMBEDDED.encode("Interaction", {**EVENT, "amount_minor": amount, "personal": sealed})
        surrogate = identity.surrogate(SECRET, key)
        origin = f"{self.places.interactions}/{customer % PARTITIONS}/{offset}".encode()
        own = [(names.KIND, b"interaction"), (names.ORIGIN, origin)]
        own += [(names.SCHEMA, fingerprint_of("Interaction").encode()), (names.SUBJECT, surrogate.encode())]
        partition = identity.journal_partition(surrogate, PARTITIONS)
        return Row(self.places.journal, partition, -1, surrogate.encode(), value, [*headers, *own])

    async def route(self, row: Row) -> Row:
        """Append a row to the journal."""
        offset = await self.send(row.topic, row.partition, row.key, row.value, row.headers)
        written = dataclasses.replace(row, offset=offset)
        self.journal.append(written)
        return written

    async def tick(self) -> None:
        """Append a tick to every partition."""
        value = EMBEDDED.encode("Control", {"body": {"time": 1_700_000_000_000}})
        headers = [(names.KIND, b"tick"), (names.SCHEMA, fingerprint_of("Control").encode())]
        for partition in range(PARTITIONS):
            await self.route(Row(self.places.journal, partition, -1, None, value, headers))

    async def watermark(self) -> None:
        """Publish a watermark and route it to every partition."""
        value = EMBEDDED.encode("Control", {"body": {"time": 1_700_000_000_000, "partitions": PARTITIONS}})
        headers = [(names.TYPE, names.WATERMARK.encode())]
        offset = await self.send(self.places.interactions, 1, None, value, headers)
        origin = f"{self.places.interactions}/1/{offset}".encode()
        own = [(names.KIND, b"watermark"), (names.ORIGIN, origin), (names.SCHEMA, fingerprint_of("Control").encode())]
        for partition in range(PARTITIONS):
            await self.route(Row(self.places.journal, partition, -1, None, value, [*headers, *own]))

    async def dead_letter(self, *, at: int | None = None) -> None:
        """Publish something unreadable and its dead letter; `at` gives the letter another origin."""
        offset = await self.send(self.places.interactions, 0, b"household:1", b"\0nonsense", [])
        found = deadletter.failure(
            self.places.interactions, 0, offset if at is None else at, "TRANSFORMATION", "router", ValueError()
        )
        await self.send(self.places.interactions_dead, 0, None, b"sealed", deadletter.headers([], found))

    async def fold(self, *, lose: int | None = None, spoil: int | None = None) -> None:
        """Fold what was routed since the last time; lose or spoil the n-th output of it."""
        count = 0
        for row in self.journal:
            if row.offset <= self.folded.get(row.partition, -1):
                continue
            for index, (topic, key, value, headers) in enumerate(self._outputs(row)):
                position = f"{row.partition}/{row.offset}/{index}".encode()
                sent = value + b" " if count == spoil else value
                if count != lose:
                    target = partition_of(topic, key, 1 if topic == self.places.outputs[1] else PARTITIONS)
                    await self.send(topic, target, key, sent, [*headers, (names.POSITION, position)])
                count += 1
        for row in self.journal:
            self.folded[row.partition] = max(row.offset, self.folded.get(row.partition, -1))
        for partition, states in self.states.items():
            await self.changelog(partition, dict(states), self.folded.get(partition, -1))

    def _outputs(self, row: Row) -> list[Any]:
        """Fold one row by hand into `states`."""
        states = self.states.setdefault(row.partition, {})
        decoded = {key: json.loads(value) for key, value in states.items()}

        class Plain:
            get = staticmethod(decoded.get)
            set = staticmethod(decoded.__setitem__)

        try:
            outputs = self.reference.step(Plain, row)
        except ValueError as error:
            return [self.reference.dead_letter(row, error)]
        self.states[row.partition] = {key: json.dumps(value).encode() for key, value in decoded.items()}
        return list(outputs)

    async def changelog(self, partition: int, states: dict[bytes, bytes | None], fence: int) -> None:
        """Append one batch to the changelog."""
        for key, value, headers in changelog.batch(states.items(), fence, PARTITIONS, b"o" * 16):
            await self.send(self.places.changelog, partition, key, value, headers)

    async def commit(self, *, beyond: int = 0) -> None:
        """Commit for both groups what was folded, or offsets beyond it."""
        offsets = {partition: offset + 1 + beyond for partition, offset in self.folded.items()}
        await self._commit(self.places.fold_group, self.places.journal, offsets)

    async def _commit(self, group: str, topic: str, offsets: dict[int, int]) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        tps = {TopicPartition(topic, number): OffsetAndMetadata(offset, "") for number, offset in offsets.items()}
        consumer.assign(list(tps))
        await consumer.commit(tps)
        await consumer.stop()

    async def judge(self, **options: Any) -> Report:
        clients = Clients(
            lambda: AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap,
                auto_offset_reset="none",
                enable_auto_commit=False,
                fetch_max_wait_ms=50,
            ),
            lambda: AIOKafkaAdminClient(bootstrap_servers=self.bootstrap),
        )
        return await prove(self.places, self.reference, clients, **options)


async def build(bootstrap: str, make: Callable[..., Awaitable[str]], producer: AIOKafkaProducer) -> Scenario:
    """Return a scenario with topics of its own: 40 interactions of 8 customers, all sorts of records, all sound."""
    interactions = await make("interactions", PARTITIONS)
    actions, dead = await make("actions", PARTITIONS), await make("journal-dead", 1)
    places = Places(
        interactions=interactions,
        interactions_dead=await make("interactions-dead", 1),
        journal=await make("journal", PARTITIONS),
        changelog=await make("changelog", PARTITIONS, cleanup_policy="compact"),
        outputs=(actions, dead),
        router_group=f"router-{interactions}",
        fold_group=f"fold-{interactions}",
    )
    reference = Reference(
        step=step(actions),
        codec=JsonCodec(),
        dead_letter=lambda record, error: (dead, record.key, record.value, [("why", type(error).__name__.encode())]),
        new_changelog=changelog.Restored,
        customer_of=lambda key: identity.customer_of_key(SECRET, key),
        type_of=EMBEDDED.type_of,
        decode=EMBEDDED.decode,
        partition_of=partition_of,
    )
    scenario = Scenario(bootstrap, places, reference, producer)
    await scenario.tick()
    for number in range(40):
        await scenario.route(await scenario.interact(number % 8, 13 if number == 11 else number))
    await scenario.route(
        await scenario.interact(3, 5, personal={"identifiers": {"email": "a@b.example"}, "fields": {}})
    )
    await scenario.watermark()
    await scenario.dead_letter()
    await scenario.route(dataclasses.replace(scenario.journal[-5]))  # the router sent one again
    return scenario
