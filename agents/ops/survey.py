"""One look at a whole cluster: every group, every topic, every dead-letter topic."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from agents.ops.lag import GroupLag, Window, bounds, group_lag
from agents.ops.records_at import records_at
from agents.ops.topics import topic_configs
from schemas.topics import DEAD_LETTER_SUFFIX

_RETENTION = "retention.ms"


@dataclasses.dataclass(frozen=True, slots=True)
class PartitionRange:
    """What a partition of a topic holds: first offset kept, offset of the next append; `whole` if no copy is behind."""

    topic: str
    partition: int
    begin: int
    end: int
    whole: bool


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetters:
    """The stock of a dead-letter topic.

    `retained` and `appended` are records; `oldest_seconds` is the age of the oldest, None where there is none or it
    could not be read; `retention_seconds` is None for ever.
    """

    topic: str
    retained: int
    appended: int
    oldest_seconds: float | None
    retention_seconds: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What was found, at a time of the monotonic clock."""

    at: float
    groups: tuple[GroupLag, ...]
    partitions: tuple[PartitionRange, ...]
    dead_letters: tuple[DeadLetters, ...]

    def numbers(self, topic: str) -> list[int]:
        """Return the partitions of a topic; none where it does not exist."""
        return [found.partition for found in self.partitions if found.topic == topic]


class Surveyor:
    """Looks again and again; it keeps samples of lag, and append times that it has read."""

    def __init__(self, *, window_seconds: float = 60.0) -> None:
        """Judge trend and status over a window of so many seconds."""
        self._window = Window(window_seconds)
        self._appended: dict[TopicPartition, tuple[int, int]] = {}
        """Of each dead-letter partition its first offset and that record's append time, milliseconds."""

    async def look(self, admin: Any, consumer: Any) -> Survey:
        """Return a survey.

        Clients are aiokafka's, started; the consumer has neither group nor subscription and is used by nobody else.
        Raises KafkaError and TimeoutError where the cluster does not answer as it should.
        """
        partitions = await _ranges(admin, consumer)
        groups = await group_lag(admin, consumer, window=self._window)
        dead = await self._dead_letters(admin, consumer, partitions)
        return Survey(time.monotonic(), tuple(groups), tuple(partitions), tuple(dead))

    async def _dead_letters(self, admin: Any, consumer: Any, partitions: Sequence[PartitionRange]) -> list[DeadLetters]:
        stock: dict[str, list[PartitionRange]] = {}
        for found in partitions:
            if found.topic.endswith(DEAD_LETTER_SUFFIX):
                stock.setdefault(found.topic, []).append(found)
        await self._read_oldest(consumer, [one for ranges in stock.values() for one in ranges if one.end > one.begin])
        configs = await topic_configs(admin, list(stock))
        now_ms = time.time() * 1000
        dead: list[DeadLetters] = []
        for topic, ranges in stock.items():
            times = [self._oldest_ms(one) for one in ranges if one.end > one.begin]
            known = [appended_ms for appended_ms in times if appended_ms is not None]
            dead.append(
                DeadLetters(
                    topic,
                    retained=sum(one.end - one.begin for one in ranges),
                    appended=sum(one.end for one in ranges),
                    oldest_seconds=max(0.0, now_ms - min(known)) / 1000 if known else None,
                    retention_seconds=_retention_seconds(configs.get(topic, {})),
                )
            )
        return dead

    async def _read_oldest(self, consumer: Any, ranges: Sequence[PartitionRange]) -> None:
        """Read the first record of each partition whose first record was not read before."""
        wanted = {TopicPartition(one.topic, one.partition): one.begin for one in ranges if self._oldest_ms(one) is None}
        for tp, record in (await records_at(consumer, wanted)).items():
            self._appended[tp] = (wanted[tp], record.timestamp)

    def _oldest_ms(self, one: PartitionRange) -> int | None:
        offset, appended_ms = self._appended.get(TopicPartition(one.topic, one.partition), (None, None))
        return appended_ms if offset == one.begin else None


async def _ranges(admin: Any, consumer: Any) -> list[PartitionRange]:
    """Return the range of every partition of the cluster that has a leader, Kafka's internal topics left out."""
    known: dict[TopicPartition, Mapping[str, Any]] = {
        TopicPartition(topic["topic"], partition["partition"]): partition
        for topic in await admin.describe_topics()
        if not topic["is_internal"]
        for partition in topic["partitions"]
    }
    tps = sorted(tp for tp, partition in known.items() if partition["leader"] >= 0)
    begins, ends = await bounds(consumer, tps)
    return [
        PartitionRange(
            tp.topic, tp.partition, begins[tp], ends[tp], whole=len(known[tp]["isr"]) >= len(known[tp]["replicas"])
        )
        for tp in tps
    ]


def _retention_seconds(config: Mapping[str, str]) -> float | None:
    retention_ms = int(config.get(_RETENTION, "-1"))
    return None if retention_ms < 0 else retention_ms / 1000
