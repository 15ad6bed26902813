"""What the view and the summary show: counted from the output topics alone."""

import asyncio
import collections
import dataclasses
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import topics
from schemas.codec import decode
from schemas.vocabulary import DecisionKind, SuppressionStatus

_NEWEST = 8


@dataclasses.dataclass(slots=True)
class Tally:
    """Counts over everything that was read."""

    actions: int = 0
    recalled: int = 0
    no_action: int = 0
    started: int = 0
    lifted: int = 0
    by_action: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    risks: dict[str, float] = dataclasses.field(default_factory=dict)
    newest: collections.deque[dict[str, Any]] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=_NEWEST)
    )
    clock_ms: int = 0

    def decision(self, decision: dict[str, Any]) -> None:
        """Take in a record of the actions topic."""
        kind = decision["kind"]
        self.clock_ms = max(self.clock_ms, decision["decided_at"])
        if decision["churn_risk"] is not None:
            self.risks[decision["customer"]] = decision["churn_risk"]
        if kind == DecisionKind.PROPOSED.value:
            self.actions += 1
            self.by_action[decision["action_id"]] += 1
            self.newest.append(decision)
        elif kind == DecisionKind.RECALLED.value:
            self.recalled += 1
            self.newest.append(decision)
        else:
            self.no_action += 1
            self.reasons[decision["reason"]] += 1

    def suppression(self, suppression: dict[str, Any]) -> None:
        """Take in a record of the suppressions topic."""
        if suppression["status"] == SuppressionStatus.STARTED.value:
            self.started += 1
        else:
            self.lifted += 1

    def histogram(self, bins: int = 10) -> list[int]:
        """Return how many customers have a churn risk in each of `bins` equal ranges of [0, 1]."""
        counts = [0] * bins
        for risk in self.risks.values():
            counts[min(bins - 1, int(risk * bins))] += 1
        return counts


async def follow(tally: Tally, consumer: AIOKafkaConsumer, partitions: int) -> None:
    """Read both output topics from their start, for ever; `consumer` is groupless and not started."""
    await consumer.start()
    try:
        tps = [
            TopicPartition(topic, number)
            for topic in (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)
            for number in range(partitions)
        ]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=2_000)
            for tp, records in fetched.items():
                take = tally.decision if tp.topic == topics.NEXT_BEST_ACTIONS else tally.suppression
                for record in records:
                    take(decode(record.value))
            await asyncio.sleep(0)
    finally:
        await consumer.stop()
