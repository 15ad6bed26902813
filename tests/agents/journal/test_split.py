"""The journal grows: what is a number to split to, what the approvals say, and copies on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from agents.clients import kafka
from agents.errors import AttuneError, UsageError
from agents.journal import split as order
from agents.journal.copies import Copies
from agents.journal.placement import Placement, Step, placement
from agents.journal.split import Cluster
from agents.settings import Settings
from schemas import headers as names
from streams import growth
from tests.streams.journal import Record
from tests.streams.splitting import Split
from tests.streams.test_growth import story, tell

Make = Callable[..., Awaitable[str]]


def said(*words: tuple[str, str], kind: str = "JOURNAL") -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, "version": version} for name, version in words]


def test_what_the_approvals_say() -> None:
    """Without any it is the default; a copy and a closing belong to the number that they name, an end ends them."""
    begun = said(("partitions", "6"), ("copy", "12"))
    assert placement([], 6) == Placement((6,))
    assert placement(said(("retail", "9"), kind="POLICY"), 6) == Placement((6,))
    assert placement(begun, 3) == Placement((6,), True, 12)
    closed = [*begun, *said(("close", "12"))]
    assert placement(closed, 6) == Placement((6,), True, 12, closed=True)
    done = [*closed, *said(("partitions", "12"))]
    assert placement(done, 6) == Placement((6, 12), True)
    assert placement(
        [*done, *said(("partitions", "6"), ("copy", "12"), ("partitions", "x"), ("?", "24"))], 6
    ) == Placement((6, 12), True)


@pytest.mark.parametrize("wanted", [3, 6, 9])
def test_only_multiples_will_do(wanted: int) -> None:
    """Anything else would mix the customers of two partitions, in an order that never was."""
    with pytest.raises(UsageError, match="no larger multiple"):
        order.check(Placement((6,)), 6, wanted)


def test_a_slip_of_the_finger_is_refused() -> None:
    """Sixteen times what there is, and no more at once: it could not be taken back."""
    order.check(Placement((6,)), 6, 96)
    with pytest.raises(UsageError, match="more than 16 times"):
        order.check(Placement((6,)), 6, 6_000_000)


def test_one_split_at_a_time() -> None:
    """A split that has begun is finished first; a topic that has more partitions than wanted is not cut."""
    with pytest.raises(AttuneError, match="to 12 partitions has begun"):
        order.check(Placement((6,), True, 12), 12, 18)
    with pytest.raises(UsageError, match="has 18 partitions already"):
        order.check(Placement((6,)), 18, 12)
    order.check(Placement((6,), True, 12), 12, 12)


class Cut(Exception):
    """The power is gone."""


class Operator:
    """A cluster as the split sees it: routers that stop when they are told, folds that come along."""

    def __init__(self) -> None:
        self.approvals: list[tuple[str, int]] = []
        self.present = 2
        self.words: list[str] = []
        self.done_to: int | None = None

    def cluster(self) -> Cluster:
        return Cluster(members=self._members, folded=self._folded, approve=self._approve, say=self._say)

    def placed(self) -> Placement:
        return placement(said(*((step, str(number)) for step, number in self.approvals)), 1)

    async def _members(self) -> int:
        return self.present

    async def _folded(self) -> dict[int, int]:
        return {} if self.done_to is None else {0: self.done_to}

    async def _approve(self, step: Step, number: int) -> None:
        self.approvals.append((step.value, number))

    def _say(self, words: str) -> None:
        self.words.append(words)
        if "stop the routers" in words:
            self.present = 0
        elif "waiting for the folds" in words:
            self.done_to = 10_000


@pytest.fixture
async def clients(cluster: Settings) -> AsyncIterator[tuple[Any, Any]]:
    consumer, producer = kafka.consumer(cluster.kafka), kafka.producer(cluster.kafka, max_batch_size=4_000)
    await consumer.start()
    await producer.start()
    yield consumer, producer
    await consumer.stop()
    await producer.stop()


async def write(producer: Any, topic: str, records: list[Record]) -> None:
    for record in records:
        await producer.send(topic, record.value, key=record.key, headers=record.headers, partition=record.partition)
    await producer.flush()


async def read(consumer: Any, topic: str, number: int) -> list[tuple[Any, ...]]:
    tp = TopicPartition(topic, number)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    end = (await consumer.end_offsets([tp]))[tp]
    found: list[Any] = []
    while await consumer.position(tp) < end:
        found += (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
    return [plain(record) for record in found]


def plain(record: Any) -> tuple[Any, ...]:
    return record.offset, record.key, record.value, list(record.headers)


@pytest.mark.parametrize("factor", [2, 3])
async def test_copies_are_what_the_core_was_judged_by(
    clients: tuple[Any, Any], topic_factory: Make, factor: int
) -> None:
    """However often it dies, a new partition holds what the split in memory gives, byte for byte, nothing twice."""
    consumer, producer = clients
    topic = await topic_factory("journal", factor)
    journal = story(7, 150)
    await write(producer, topic, journal.records)
    operator = Operator()
    for death in (2, 5, 9, 12, 14, None):
        copies = Copies(topic, 1, factor, consumer, producer)
        die_at(copies, death)
        try:
            await order.split(operator.placed(), factor, copies, operator.cluster(), wait=20)
        except Cut:
            continue
        break
    assert operator.placed() == Placement((1, factor), True)
    assert operator.approvals.count(("partitions", 1)) == operator.approvals.count(("copy", factor)) == 1
    wanted = tell(journal, {})
    wanted.split(factor)
    for number in range(factor):
        assert await read(consumer, topic, number) == [plain(record) for record in wanted.logs[number]]


def die_at(copies: Copies, death: int | None) -> None:
    """Let the n-th batch be the last."""
    send, left = copies._send, [death]

    async def sending(number: int, batch: Any) -> int:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Cut
        return await send(number, batch)

    copies._send = sending  # type: ignore[method-assign]


async def test_what_comes_while_it_copies_is_copied(clients: tuple[Any, Any], topic_factory: Make) -> None:
    """Records that a router writes until it stops are before the cut; what a late one writes is behind it and stays."""
    consumer, producer = clients
    topic = await topic_factory("journal", 2)
    journal = story(8, 120)
    await write(producer, topic, journal.records[:60])
    copies = Copies(topic, 1, 2, consumer, producer)
    await copies.open()
    assert await copies.catch_up() == 60
    await write(producer, topic, journal.records[60:])
    await copies.cut()
    late = journal.records[-1]
    await write(producer, topic, [late])
    await copies.catch_up()
    await copies.finish()
    assert copies.cuts == {0: len(journal.records)}
    wanted: Split = tell(journal, {})
    wanted.split(2)
    assert await read(consumer, topic, 1) == [plain(record) for record in wanted.logs[1]]


async def test_a_partition_that_somebody_else_writes_is_refused(clients: tuple[Any, Any], topic_factory: Make) -> None:
    """No copy is made beside records that are none, nor after an append that came between."""
    consumer, producer = clients
    topic = await topic_factory("journal", 2)
    journal = story(9, 40)
    await write(producer, topic, journal.records)
    copies = Copies(topic, 1, 2, consumer, producer)
    await copies.open()
    await write(producer, topic, [journal.records[-1]._replace(partition=1)])
    with pytest.raises(AttuneError, match="appended at 1, expected 0"):
        await copies.catch_up()
    foreign = await topic_factory("journal", 2)
    await write(producer, foreign, [*journal.records, journal.records[-1]._replace(partition=1)])
    with pytest.raises(AttuneError, match="is no copy"):
        await Copies(foreign, 1, 2, consumer, producer).open()


async def test_routers_that_do_not_stop_end_the_wait(clients: tuple[Any, Any], topic_factory: Make) -> None:
    """After the time given nothing is closed, and the same command goes on."""
    consumer, producer = clients
    topic = await topic_factory("journal", 2)
    await write(producer, topic, story(10, 30).records)
    operator = Operator()
    operator._say = operator.words.append  # type: ignore[method-assign, assignment]
    copies = Copies(topic, 1, 2, consumer, producer)
    with pytest.raises(AttuneError, match="still in their groups"):
        await order.split(operator.placed(), 2, copies, operator.cluster(), wait=0.5)
    assert operator.placed() == Placement((1,), True, 2)
    assert not [one for one in await read(consumer, topic, 0) if dict(one[3])[names.KIND] == b"split"]
    await asyncio.sleep(0)


def test_copies_are_told_by_their_header() -> None:
    """What the tool writes is what the core mutes."""
    grown = tell(story(1, 30), {})
    grown.split(2)
    assert [growth.is_copied(record) for record in grown.logs[1]] == [True] * (len(grown.logs[1]) - 1) + [False]
