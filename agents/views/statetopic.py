"""The topic of states as it stands: what each customer's last record says, and how it is put right."""

import dataclasses
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from aiokafka import TopicPartition

from agents.views.build import Progress
from agents.views.documents import Message
from schemas import topics
from schemas.codec import EMBEDDED
from schemas.errors import ContractError

_UNREADABLE: Final = -1
_UNACKNOWLEDGED: Final = 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class Last:
    """A customer's last record: the journal offset in it (-1 if it cannot be read), and a digest of its value."""

    offset: int
    digest: bytes


def digest(value: bytes) -> bytes:
    """Return a digest of a record's value; two differ by chance once in 2^64."""
    return blake2b(value, digest_size=8).digest()


def offset_of(value: bytes) -> int:
    """Return the journal offset in a CustomerState, -1 if it cannot be read."""
    try:
        return int(EMBEDDED.decode(value, "CustomerState")["position"]["offset"])
    except ContractError:
        return _UNREADABLE


class StateTopic:
    """Reads the topic, on and on; `last` has who is in it."""

    def __init__(self, consumer: Any) -> None:
        """Take a consumer, started, without group and assignment."""
        self._consumer = consumer
        self.last: dict[str, Last] = {}

    async def begin(self, partitions: int) -> None:
        """Stand at the beginning."""
        tps = [TopicPartition(topics.CUSTOMER_STATE, number) for number in range(partitions)]
        self._consumer.assign(tps)
        await self._consumer.seek_to_beginning(*tps)

    async def read_on(self, progress: Progress | None = None) -> dict[str, Message]:
        """Read to where the topic ends now; return of whom an older state follows a newer one, with the newer one."""
        overtaken: dict[str, Message] = {}
        newest: dict[str, tuple[int, Message]] = {}
        for tp, end in (await self._consumer.end_offsets(self._consumer.assignment())).items():
            while await self._consumer.position(tp) < end:
                records = (await self._consumer.getmany(tp, timeout_ms=500)).get(tp, [])
                for record in records:
                    customer, value = record.key.decode("ascii", "backslashreplace"), record.value
                    offset = _UNREADABLE if value is None else offset_of(value)
                    if value is None:
                        self.last.pop(customer, None)
                    else:
                        self.last[customer] = Last(offset, digest(value))
                    before = newest.get(customer)
                    if before is not None and value is not None and offset < before[0]:
                        overtaken[customer] = before[1]
                    else:
                        newest[customer] = offset, Message(value, list(record.headers))
                        overtaken.pop(customer, None)
                if progress is not None:
                    progress(len(records))
        return overtaken


class Repair:
    """Makes the topic say what was derived, beside an agent that goes on publishing.

    Both may write about one customer at once, and the older state may come last.  So what was appended meanwhile is
    read afterwards, and a newer state that was overtaken is sent again, until there is none.
    """

    def __init__(self, topic: StateTopic, producer: Any, place: Callable[[bytes], int]) -> None:
        """Take the topic, read to its end, a producer that is started, and what gives a key's partition."""
        self._topic = topic
        self._producer = producer
        self._place = place
        self._unknown = set(topic.last)
        self._unacknowledged: list[Any] = []
        self.published = 0

    async def state(self, customer: str, message: Message) -> None:
        """Publish a state unless the topic says it already, or something newer."""
        self._unknown.discard(customer)
        assert message.value is not None
        last = self._topic.last.get(customer)
        if last is None or (last.digest != digest(message.value) and last.offset <= offset_of(message.value)):
            await self._send(customer, message)

    async def finish(self) -> None:
        """Remove customers whom the log does not know, and see that no older state stands behind a newer one."""
        for customer in sorted(self._unknown):
            await self._send(customer, Message(None, []))
        await self._durable()
        while overtaken := await self._topic.read_on():
            for customer, message in overtaken.items():
                await self._send(customer, message)
            await self._durable()

    async def _send(self, customer: str, message: Message) -> None:
        key = customer.encode()
        self._unacknowledged.append(
            await self._producer.send(
                topics.CUSTOMER_STATE, message.value, key=key, headers=message.headers, partition=self._place(key)
            )
        )
        self.published += 1
        if len(self._unacknowledged) >= _UNACKNOWLEDGED:
            await self._durable()

    async def _durable(self) -> None:
        for sent in self._unacknowledged:
            await sent
        self._unacknowledged.clear()
