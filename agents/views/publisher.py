"""The compacted topic of states: one partition of the changelog at a time, each customer's newest state, now and then.

A publisher is a transactional producer under an id of its partition.  Opening one fences the one before: what a frozen
agent sends late is refused by the broker, so that it never stands behind a newer state, where compaction would keep
it.  The offset of the changelog is committed in the same transaction: whoever comes next begins where the topic ends.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from agents.view import NOWHERE
from agents.views.clients import Counters
from agents.views.documents import Message

logger = logging.getLogger(__name__)

_OPEN_SECONDS: Final = 30.0
_FLUSH_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 3.0
_ROOM: Final = 20_000
"""So many states wait at most while a whole partition is being derived."""

PartitionOf = Callable[[str], int]


class Unusable(KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """The publisher has failed; what it had in hand the next one publishes, which goes on from what is durable."""


def _seen(sent: "asyncio.Future[Any]") -> None:
    if not sent.cancelled():
        sent.exception()


def _nowhere(customer: str) -> int:
    raise RuntimeError(f"the publisher is not open; {customer} cannot be placed")


class Publisher:
    """Publishes what is added, newest position of each customer, every `seconds`."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        source: TopicPartition,
        *,
        group: str,
        seconds: float,
        counters: Counters,
    ) -> None:
        """Take a transactional producer, not started, and whose offsets it commits."""
        self._producer = producer
        self._topic = topic
        self._source = source
        self._group = group
        self._seconds = seconds
        self._partition_of: PartitionOf = _nowhere
        self._pending: dict[str, tuple[str, Message]] = {}
        self._turn = asyncio.Lock()
        self._failed = False
        self._counters = counters
        self.next = 0
        """Offset of the changelog up to which everything was added."""
        self.committed = 0

    async def open(self, partition_of: Callable[[bytes, int], int]) -> None:
        """Start, and fence whoever published this partition before; `partition_of(key, count)` places a record."""
        async with asyncio.timeout(_OPEN_SECONDS):
            await self._producer.start()
            await self._producer.begin_transaction()  # waits for its epoch, which fences the one before
            await self._producer.abort_transaction()
            count = len(await self._producer.partitions_for(self._topic))
        self._partition_of = lambda customer: partition_of(customer.encode(), count)

    def begin(self, offset: int) -> None:
        """Say where the topic ends: at what was committed."""
        self.next = self.committed = offset

    def add(self, customer: str, position: str, message: Message) -> None:
        """Publish a state with the next transaction, unless a newer one waits."""
        known = self._pending.get(customer, (NOWHERE,))[0]
        if position >= known:
            self._pending[customer] = position, message

    async def room(self) -> None:
        """Wait while too much waits."""
        if len(self._pending) > _ROOM:
            await self.flush()

    async def run(self) -> None:
        """Publish until cancelled; raises KafkaError or TimeoutError when that failed or when this one was fenced."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.flush()

    async def flush(self) -> None:
        """Make everything that was added durable, and the offset with it; raises as `run`.

        After a failure, and after it was cancelled, nothing is certain of the transaction and the publisher is of no
        use any more: then it raises Unusable, a KafkaError, for ever.
        """
        async with self._turn:
            if self._failed:
                raise Unusable("publishing has failed before")
            pending, offset = self._pending, self.next
            if not pending and offset == self.committed:
                return
            self._pending = {}
            self._failed = True
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self._transaction(pending, offset)
            except AssertionError as error:  # the client's way to say that its transaction is in another state
                raise Unusable(str(error)) from error
            self._failed = False
            self.committed = offset
            self._counters.published += len(pending)

    async def _transaction(self, pending: Mapping[str, tuple[str, Message]], offset: int) -> None:
        await self._producer.begin_transaction()
        for customer, (_, message) in pending.items():
            sent = await self._producer.send(
                self._topic,
                message.value,
                key=customer.encode(),
                headers=message.headers,
                partition=self._partition_of(customer),
            )
            sent.add_done_callback(_seen)  # what went wrong is told by the end of the transaction
        await self._producer.send_offsets_to_transaction({self._source: offset}, self._group)
        await self._producer.commit_transaction()

    async def close(self) -> None:
        """Stop at once; what is under way ends or is undone when the next one is opened."""
        try:
            await asyncio.wait_for(self._producer.stop(), _STOP_SECONDS)
        except (TimeoutError, KafkaError) as error:
            logger.warning("the publisher of %s/%d did not end in order: %r", *self._source, error)
            await self._producer.client.close()
