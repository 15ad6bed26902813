"""Latency from interaction to output: append of the output minus append of the interaction, sampled from the logs.

Of each second and journal partition one output is taken, whichever; its header leads to the journal record, and that
record's header to the interaction.  All three topics have LogAppendTime, so the broker's clock alone counts.
"""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from prometheus_client import Histogram
from prometheus_client.registry import CollectorRegistry

from agents.ops.records_at import records_at
from schemas import headers as names
from schemas import topics

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""
MOST_A_ROUND = 16
"""Outputs that are followed at once, however many journal partitions there are."""


class Candidate(NamedTuple):
    """An output that was kept: its journal record, when it was appended, and out of how many it was chosen."""

    journal_offset: int
    appended_ms: int
    offered: int


class Latency:
    """Keeps one output of each journal partition until the next `measure`."""

    def __init__(self, registry: CollectorRegistry, *, seed: int | None = None) -> None:
        self._histogram = Histogram(
            "attune_action_latency_seconds",
            "From the append of an interaction to the append of what it led to; a sample, see the documentation.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._chosen: dict[int, Candidate] = {}
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret

    def offer(self, position: names.Position, appended_ms: int) -> None:
        """Offer an output; each of a partition is kept with the same chance."""
        kept = self._chosen.get(position.partition)
        offered = 1 if kept is None else kept.offered + 1
        if kept is None or self._random.random() * offered < 1:
            kept = Candidate(position.offset, appended_ms, offered)
        self._chosen[position.partition] = kept._replace(offered=offered)

    def take(self) -> dict[int, Candidate]:
        """Return what was kept by journal partition, and begin anew."""
        numbers = sorted(self._chosen)
        if len(numbers) > MOST_A_ROUND:
            numbers = self._random.sample(numbers, MOST_A_ROUND)
        taken = {number: self._chosen[number] for number in numbers}
        self._chosen = {}
        return taken

    async def measure(self, consumer: Any) -> int:
        """Follow the outputs that were kept back to their interactions; return how many latencies that gave.

        An output that no interaction led to (a tick did) gives none.  The consumer is as `records_at` wants it.
        """
        chosen = self.take()
        wanted = {TopicPartition(topics.JOURNAL, number): one.journal_offset for number, one in chosen.items()}
        causes: list[tuple[names.Origin, int]] = []
        for tp, record in (await records_at(consumer, wanted)).items():
            origin = _origin(record) if record.offset == wanted[tp] else None
            if origin is not None:
                causes.append((origin, chosen[tp.partition].appended_ms))
        return await self._observe(consumer, causes)

    async def _observe(self, consumer: Any, causes: list[tuple[names.Origin, int]]) -> int:
        measured = 0
        while causes:
            now: dict[TopicPartition, tuple[names.Origin, int]] = {}
            later: list[tuple[names.Origin, int]] = []
            for cause in causes:  # one of each partition at a time
                tp = TopicPartition(cause[0].topic, cause[0].partition)
                if tp in now:
                    later.append(cause)
                else:
                    now[tp] = cause
            records: Mapping[TopicPartition, Any] = await records_at(
                consumer, {tp: origin.offset for tp, (origin, _) in now.items()}
            )
            for tp, record in records.items():
                origin, appended_ms = now[tp]
                if record.offset == origin.offset:  # not deleted meanwhile
                    self._histogram.observe(max(0, appended_ms - record.timestamp) / 1000)
                    measured += 1
            causes = later
        return measured


def _origin(record: Any) -> names.Origin | None:
    value = names.first(record.headers, names.ORIGIN)
    return None if value is None else names.Origin.parse(value)
