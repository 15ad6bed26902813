"""What the view agent works with: the store of the views, the log that it follows, and what it counts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.view import Mark, Write
from agents.views.runs import FenceOf


class Store(Protocol):
    """Where the views are kept; every method raises Away while it does not answer."""

    async def begin(self) -> str:
        """Return the generation in use, made if there is none."""

    async def sweep(self) -> int:
        """Remove the generations that nobody needs; return how many."""

    async def set_partitions(self, generation: str, numbers: Mapping[str, int]) -> None:
        """Say by topic over how many partitions the views are made; raises Moved."""

    async def apply(self, generation: str, writes: Sequence[Write]) -> list[int]:
        """Apply writes by position; raises Moved."""

    async def marks(self, generation: str) -> dict[str, bytes]:
        """Return the marks as they stand."""

    async def mark_all(self, generation: str, marks: Sequence[tuple[str, Mark, bytes]]) -> list[tuple[bytes, bool]]:
        """Replace marks that stand as they are known; return what stands there now and whether it is ours."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """How Kafka is reached, and how the fold's own topic is read.

    `consumer` is a group's member, started, without subscription.  `new_reader` and `new_producer` give clients that
    are not started: one without a group, one with a transactional id.
    """

    consumer: AIOKafkaConsumer
    group: str
    new_reader: Callable[[], AIOKafkaConsumer]
    new_producer: Callable[[str], AIOKafkaProducer]
    fence_of: FenceOf
    watermark: bytes
    partition_of: Callable[[bytes, int], int]
    """Where a key's outputs stand, of so many partitions."""
    parse_mark: Callable[[bytes | None], Mark | None]


@dataclasses.dataclass(slots=True)
class Counters:
    """What an agent has done; read by metrics."""

    records: int = 0
    states: int = 0
    older: int = 0
    """States that were passed over since the views had newer ones."""
    outputs: int = 0
    refused: int = 0
    published: int = 0
    builds: int = 0
    waits: int = 0
    """Times that a write had to wait, for Redis or a document."""
    waiting: int = 0
    """Writes that wait now."""
    starts: int = 0
    """Partitions begun: at assignments, and again after trouble."""
