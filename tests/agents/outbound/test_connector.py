"""The connector between Kafka and its outbox: what a poll that ends badly, a crash or a frozen broker may not cause."""

import asyncio
import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from agents.clients import kafka
from agents.errors import AttuneError
from agents.ops import topics as topic_admin
from agents.outbound.connector import Connector, position_of
from agents.outbound.outbox import Outbox
from agents.settings import Settings
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.headers import Position
from schemas.message_examples import load
from tests.agents.outbound.test_waiting import CUSTOMER, HOUR

ACTIONS = TopicPartition(topics.NEXT_BEST_ACTIONS, 0)
LAST = TopicPartition(topics.NEXT_BEST_ACTIONS, CATALOGUE.topics[topics.NEXT_BEST_ACTIONS].partitions - 1)
HOLDS = TopicPartition(topics.SUPPRESSIONS, 0)
DELAY = 6 * HOUR


class Died(Exception):
    """A crash of the connector."""


@dataclasses.dataclass
class Record:
    topic: str
    partition: int
    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]]


class Log:
    """Topics of one partition in memory, and what a group committed."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = {ACTIONS: [], HOLDS: []}
        self.commits: dict[TopicPartition, OffsetAndMetadata] = {}

    def act(self, decision: dict[str, Any], place: int) -> None:
        self._append(ACTIONS, "NextBestAction", decision, place)

    def hold(self, content: dict[str, Any], place: int) -> None:
        self._append(HOLDS, "Suppression", content, place)

    def _append(self, tp: TopicPartition, name: str, content: dict[str, Any], place: int) -> None:
        header = (names.POSITION, bytes(Position(0, place, 0)))
        records = self.records[tp]
        records.append(Record(*tp, len(records), EMBEDDED.encode(name, content), [header]))


class Consumer:
    """A consumer of the log: each poll returns as many records a partition as `polls` says, then all.

    `ended` is where the actions ended at the start, if what stands further on was written later.
    """

    def __init__(self, log: Log, polls: Iterable[int] = (), ended: int | None = None) -> None:
        self._log = log
        self._ended = ended
        self._polls = iter(polls)
        self._at: dict[TopicPartition, int] = {}
        self.answered: float | None = None
        """When the broker last answered, by the wall clock; None for always just now."""
        self._coordinator = self
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=self))

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._at = dict.fromkeys(partitions, 0)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self._at.update(dict.fromkeys(partitions, 0))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self._log.records[tp]) if self._ended is None else self._ended for tp in partitions}

    async def fetch_committed_offsets(self, _: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        return dict(self._log.commits)

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self._log.commits.update(offsets)

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        most = next(self._polls, 1_000)
        fetched = {tp: self._log.records[tp][at : at + most] for tp, at in self._at.items()}
        for tp, records in fetched.items():
            self._at[tp] += len(records)
        await asyncio.sleep(0)
        return {tp: records for tp, records in fetched.items() if records}

    def state_value(self, tp: TopicPartition) -> Any:
        return SimpleNamespace(has_valid_position=True, position=self._at[tp])

    def highwater(self, tp: TopicPartition) -> int:
        return len(self._log.records[tp])

    def last_poll_timestamp(self, _: TopicPartition) -> int:
        return int(1_000 * (time.time() if self.answered is None else self.answered))


class Producer:
    """Keeps event ids in the order of their publication; dies before the one that is numbered `dies_at`."""

    def __init__(self, dies_at: int | None = None, partitions: dict[str, int] | None = None) -> None:
        self.told: list[str] = []
        self._dies_at = dies_at
        self._partitions = partitions or {}

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self._partitions.get(topic, 1)))

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> None:
        if len(self.told) == self._dies_at:
            raise Died
        self.told.append(EMBEDDED.decode(value)["event_id"])


def action(number: int, at: int, **changes: Any) -> dict[str, Any]:
    """Return a proposal that fits the schema."""
    return {
        **next(load("NextBestAction")).record(),
        "decision_id": f"d{number}",
        "kind": "PROPOSED",
        "customer": CUSTOMER,
        "action_class": "MARKETING",
        "decided_at": at,
        "valid_until": at + 100 * HOUR,
        "recalls": None,
        **changes,
    }


def recall(number: int, at: int) -> dict[str, Any]:
    return action(1_000 + number, at, kind="RECALLED", recalls=f"d{number}")


def suppression(status: str) -> dict[str, Any]:
    """Return a hold of all marketing that fits the schema."""
    return {**next(load("Suppression")).record(), "suppression_id": "s1", "customer": CUSTOMER, "status": status}


def logged(*decisions: dict[str, Any]) -> Log:
    """Return a log of decisions, each at a position of its own."""
    log = Log()
    for place, decision in enumerate(decisions):
        log.act(decision, place)
    return log


@contextlib.asynccontextmanager
async def running(outbox: Outbox, consumer: Any, producer: Any) -> AsyncIterator["asyncio.Future[None]"]:
    """Yield a connector at work; whatever ended it but a crash is raised."""
    connector = Connector(consumer=consumer, producer=producer, outbox=outbox, delay_ms=DELAY)
    work = asyncio.ensure_future(connector.run())
    try:
        yield work
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, Died):
            await work


async def run(folder: Path, consumer: Any, producer: Any = None) -> list[str]:
    """Run a connector until it has nothing left to do or dies; returns what stands in the outbox."""
    with contextlib.closing(Outbox(folder / "outbox.jsonl")) as outbox:
        async with running(outbox, consumer, producer or Producer()) as work:
            await asyncio.wait([work], timeout=0.1)
    return [json.loads(line)["decision_id"] for line in (folder / "outbox.jsonl").read_text().splitlines()]


async def test_a_poll_that_ends_between_a_repeated_proposal_and_its_recall(tmp_path: Path) -> None:
    """What was recalled is not dispatched when the fold proposes it again, though its delay is long over."""
    log = logged(action(1, 0), recall(1, HOUR), action(2, 9 * HOUR))
    log.act(action(1, 0), 0)
    log.act(recall(1, HOUR), 1)
    assert await run(tmp_path, Consumer(log, [3, 1], ended=3)) == []
    assert log.commits == {ACTIONS: OffsetAndMetadata(2, "0/1/0")}


async def test_a_repeated_proposal_after_a_restart(tmp_path: Path) -> None:
    """Also when the recall stands before the committed offset, and the proposal's repetition behind it."""
    log = logged(action(1, 0), recall(1, HOUR))
    assert await run(tmp_path, Consumer(log)) == []
    assert log.commits == {ACTIONS: OffsetAndMetadata(2, "0/1/0")}
    log.act(action(1, 0), 0)
    log.act(action(2, 9 * HOUR), 2)
    log.act(action(3, 15 * HOUR), 3)
    assert await run(tmp_path, Consumer(log, [1, 1, 1], ended=2)) == ["d2"]


async def test_a_restart_knows_every_recall_before_it_dispatches(tmp_path: Path) -> None:
    """What stands in the actions at the start is read to its end first, whatever a poll returns."""
    log = logged(action(1, 0), action(2, 9 * HOUR), recall(1, 9 * HOUR))
    assert await run(tmp_path, Consumer(log, [1, 1, 0])) == []


async def test_a_crash_between_the_delivery_and_its_report(tmp_path: Path) -> None:
    """The next run delivers nothing again, reports what was delivered with the same event ids, and moves on."""
    log = logged(action(1, 0), action(2, HOUR), action(3, 9 * HOUR))
    died = Producer(dies_at=1)
    assert await run(tmp_path, Consumer(log), died) == ["d1", "d2"]
    assert len(died.told) == 1
    assert log.commits == {}
    again = Producer()
    assert await run(tmp_path, Consumer(log), again) == ["d1", "d2"]
    assert sorted(again.told) == [f"d{number}:message.{what}" for number in (1, 2) for what in ("delivered", "sent")]
    assert log.commits == {ACTIONS: OffsetAndMetadata(2, "0/1/0")}


async def test_what_was_delivered_is_reported_though_recalled_since(tmp_path: Path) -> None:
    """A recall that comes after the delivery undoes no fact."""
    log = logged(action(1, 0), action(2, 9 * HOUR))
    assert await run(tmp_path, Consumer(log), Producer(dies_at=0)) == ["d1"]
    log.act(recall(1, 10 * HOUR), 2)
    again = Producer()
    assert await run(tmp_path, Consumer(log), again) == ["d1"]
    assert sorted(again.told) == ["d1:message.delivered", "d1:message.sent"]


@pytest.mark.parametrize(
    ("age", "goes_out"),
    [(0.0, True), (4.0, True), (6.0, False), (3_600.0, False), (-60.0, False)],
)
async def test_a_frozen_leader_of_the_suppressions(tmp_path: Path, age: float, goes_out: bool) -> None:
    """Marketing is held once the last answer about that partition is 5 s old, or dated in the future: fail closed."""
    consumer = Consumer(logged(action(1, 0), action(2, 9 * HOUR)))
    consumer.answered = time.time() - age
    assert await run(tmp_path, consumer) == (["d1"] if goes_out else [])


async def test_suppressions_that_are_not_read_to_their_end(tmp_path: Path) -> None:
    """Marketing is held while anything is left to read there; then the suppression counts."""
    log = logged(action(1, 0), action(2, 9 * HOUR))
    log.hold(suppression("STARTED"), 0)
    log.hold(suppression("LIFTED"), 1)
    log.hold({**suppression("STARTED"), "suppression_id": "s2"}, 2)
    producer = Producer()
    assert await run(tmp_path, Consumer(log, [2]), producer) == []
    assert producer.told == ["d1:message.withheld"]


async def test_topics_of_different_numbers_of_partitions(tmp_path: Path) -> None:
    """Refused at the start, saying both numbers and what to do."""
    producer = Producer(partitions={topics.NEXT_BEST_ACTIONS: 6, topics.SUPPRESSIONS: 3})
    with pytest.raises(AttuneError, match=r"has 6 partitions and crm\.suppressions\.v1 3") as refused:
        await run(tmp_path, Consumer(Log()), producer)
    assert "attune topics plan" in refused.value.hint


async def test_a_commit_that_no_connector_wrote(tmp_path: Path) -> None:
    """Metadata that cannot be read is refused, saying what to do."""
    log = logged(action(1, 0))
    log.commits[ACTIONS] = OffsetAndMetadata(1, "by hand")
    with pytest.raises(AttuneError, match="'by hand', which no connector of Attune wrote") as refused:
        await run(tmp_path, Consumer(log))
    assert "--reset-offsets" in refused.value.hint


def test_a_position_that_is_none() -> None:
    """A record without the header, or with garbage in it, is no output of a fold; it is not refused."""
    assert position_of(Record("t", 0, 0, b"", [])) is None
    assert position_of(Record("t", 0, 0, b"", [(names.POSITION, b"0/x")])) is None
    assert position_of(Record("t", 0, 0, b"", [(names.POSITION, b"1/2/3")])) == Position(1, 2, 3)


@pytest.fixture
async def group(cluster: Settings) -> Callable[[], Any]:
    """Return a function that makes a consumer of a group that begins at the present end of one partition."""
    admin = kafka.admin(cluster.kafka)
    await admin.start()
    await topic_admin.apply(admin, CATALOGUE, replication=1)
    await admin.close()
    name = f"connector-{uuid.uuid4().hex[:8]}"
    async with started(kafka.consumer(cluster.kafka, group=name)) as consumer:
        consumer.assign([LAST])
        await consumer.commit(await consumer.end_offsets([LAST]))
    return lambda: started(kafka.consumer(cluster.kafka, group=name))


@contextlib.asynccontextmanager
async def started(client: Any) -> AsyncIterator[Any]:
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def until(ready: Callable[[], Awaitable[bool]], work: "asyncio.Future[None]") -> None:
    deadline = time.monotonic() + 90
    while not await ready():
        assert not work.done(), work
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.kafka
async def test_a_restart_on_a_real_broker(cluster: Settings, group: Callable[[], Any], tmp_path: Path) -> None:
    """A commit keeps its metadata, answers are dated: a proposal repeated after a restart is not dispatched."""
    now = int(time.time() * 1_000)
    mine, other, later = (uuid.uuid4().hex for _ in range(3))
    proposal = action(1, now, decision_id=mine)
    withdrawal = action(2, now + HOUR, decision_id=uuid.uuid4().hex, kind="RECALLED", recalls=mine)
    with contextlib.closing(Outbox(tmp_path / "outbox.jsonl")) as outbox:
        async with started(kafka.producer(cluster.kafka)) as producer:

            async def act(decision: dict[str, Any], place: int) -> int:
                value = EMBEDDED.encode("NextBestAction", decision)
                headers = [(names.POSITION, bytes(Position(0, now + place, 0)))]
                sent = await producer.send_and_wait(LAST.topic, value, partition=LAST.partition, headers=headers)
                return int(sent.offset)

            await act(proposal, 0)
            last = await act(withdrawal, 1)
            async with group() as consumer, running(outbox, consumer, producer) as work:

                async def settled() -> bool:
                    return bool(await consumer.committed(LAST) == last + 1)

                await until(settled, work)
            async with group() as consumer, running(outbox, consumer, producer) as work:
                await act(proposal, 0)
                await act(action(3, now + 9 * HOUR, decision_id=other), 2)
                await act(action(4, now + 20 * HOUR, decision_id=later), 3)

                async def delivered() -> bool:
                    return other in outbox

                await until(delivered, work)
        assert mine not in outbox
