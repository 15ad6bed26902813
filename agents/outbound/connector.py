"""The demo connector: holds each action for a while, checks again, delivers to a local outbox, reports.

It knows the published topics and schemas, nothing else of Attune.  At least once with a memory:
deliver, report, then commit; the outbox passes over what it has delivered, and a report that is
repeated has the same event id.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.outbound.outbox import Outbox
from agents.outbound.waiting import Waiting
from schemas import headers as names
from schemas import identity, topics
from schemas.codec import EMBEDDED, Codec
from schemas.vocabulary import EventType

logger = logging.getLogger(__name__)

_POLL_MS = 50
_STALE_SECONDS = 5.0
_SOURCE = "demo-connector"


class Connector:
    """Carries out what stands in the actions topic; `run` until cancelled."""

    def __init__(
        self,
        *,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        outbox: Outbox,
        delay_ms: int,
        codec: Codec = EMBEDDED,
        idle_flush_seconds: float | None = None,
        status_file: Path | None = None,
    ) -> None:
        """Take started clients (the consumer with a group and no subscription) and the outbox.

        `delay_ms` is event time.  With `idle_flush_seconds`, actions that wait are let go when
        nothing has arrived for so long: for data that ends.
        """
        self._consumer = consumer
        self._producer = producer
        self._outbox = outbox
        self._codec = codec
        self._delay_ms = delay_ms
        self._idle_flush_seconds = idle_flush_seconds
        self._status_file = status_file
        self._partitions: dict[int, Waiting] = {}
        self._committed: dict[int, int] = {}
        self._last_arrival = time.monotonic()
        self._last_fetch = 0.0
        self.counts = {"dispatched": 0, "suppressed": 0, "expired": 0}

    async def run(self) -> None:
        """Work until cancelled; an error of a client ends it, and a restart goes on."""
        await self._assign()
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
            self._last_fetch = time.monotonic()
            for tp, records in sorted(fetched.items()):
                self._last_arrival = self._last_fetch
                for record in records:
                    self._take(tp, record)
            await self._settle()
            self._write_status()

    async def _assign(self) -> None:
        """Read suppressions from their start, actions from what is settled."""
        numbers = await self._producer.partitions_for(topics.NEXT_BEST_ACTIONS)
        actions = [TopicPartition(topics.NEXT_BEST_ACTIONS, number) for number in sorted(numbers)]
        holds = [TopicPartition(topics.SUPPRESSIONS, tp.partition) for tp in actions]
        self._consumer.assign([*actions, *holds])
        await self._consumer.seek_to_beginning(*holds)
        for tp in actions:
            settled = await self._consumer.committed(tp)
            if settled is None:
                await self._consumer.seek_to_beginning(tp)
            else:
                self._consumer.seek(tp, settled)
            self._partitions[tp.partition] = Waiting(self._delay_ms)
            self._committed[tp.partition] = settled or 0

    def _take(self, tp: TopicPartition, record: Any) -> None:
        waiting = self._partitions[tp.partition]
        content = self._codec.decode(record.value)
        if tp.topic == topics.SUPPRESSIONS:
            waiting.suppression(content)
        else:
            waiting.decision(record.offset, content, done=content["decision_id"] in self._outbox)

    async def _settle(self) -> None:
        now = time.monotonic()
        idle = self._idle_flush_seconds
        flush = idle is not None and now - self._last_arrival > idle
        settled: dict[TopicPartition, int] = {}
        for number, waiting in self._partitions.items():
            verdict = waiting.due(fresh=self._is_fresh(number, now), flush=flush)
            if verdict.dispatch:
                self._outbox.deliver([delivery(action, self._delay_ms) for action in verdict.dispatch])
                await asyncio.gather(*(self._report(action) for action in verdict.dispatch))
            for action in (*verdict.suppressed, *verdict.expired):
                await self._tell(action, EventType.MESSAGE_WITHHELD)
            self.counts["dispatched"] += len(verdict.dispatch)
            self.counts["suppressed"] += len(verdict.suppressed)
            self.counts["expired"] += len(verdict.expired)
            if waiting.safe_offset > self._committed[number]:
                settled[TopicPartition(topics.NEXT_BEST_ACTIONS, number)] = waiting.safe_offset
                self._committed[number] = waiting.safe_offset
        if settled:
            await self._consumer.commit(settled)

    def _is_fresh(self, number: int, now: float) -> bool:
        """Return whether everything that stands in the suppressions of a partition has been read, just now."""
        tp = TopicPartition(topics.SUPPRESSIONS, number)
        end = self._consumer.highwater(tp)
        polled = self._consumer.last_poll_timestamp(tp)
        if end is None or polled is None or now - self._last_fetch > _STALE_SECONDS:
            return False
        state = self._consumer._subscription.subscription.assignment.state_value(tp)  # noqa: SLF001 - no public sync name
        return bool(state.has_valid_position and state.position >= end)

    async def _report(self, action: Mapping[str, Any]) -> None:
        """Tell that an action was sent and delivered."""
        for kind in (EventType.MESSAGE_SENT, EventType.MESSAGE_DELIVERED):
            await self._tell(action, kind)

    async def _tell(self, action: Mapping[str, Any], kind: EventType) -> None:
        """Publish what became of an action, as an interaction that quotes its decision."""
        event = report(action, kind, action["decided_at"] + self._delay_ms)
        headers = names.cloud_event(
            event_id=event["event_id"],
            ce_type=names.INTERACTION_PREFIX + kind.value,
            source=_SOURCE,
            time_ms=event["occurred_at"],
        )
        await self._producer.send_and_wait(
            topics.INTERACTIONS,
            self._codec.encode("Interaction", event),
            key=identity.surrogate_key(action["customer"]),
            headers=headers,
        )

    def _write_status(self) -> None:
        if self._status_file is None:
            return
        held = sum(len(waiting) for waiting in self._partitions.values())
        recalled = sum(waiting.recalled for waiting in self._partitions.values())
        fresh = self._status_file.with_suffix(".new")
        fresh.write_text(json.dumps({**self.counts, "recalled": recalled, "held": held, "outbox": len(self._outbox)}))
        fresh.replace(self._status_file)


def delivery(action: Mapping[str, Any], delay_ms: int) -> dict[str, Any]:
    """Return the line of the outbox for an action."""
    return {
        "decision_id": action["decision_id"],
        "customer": action["customer"],
        "channel": action["channel"],
        "action": action["action_id"],
        "treatment": action["treatment_id"],
        "content": dict(action["content"]),
        "decided_at": names.rfc3339(action["decided_at"]),
        "dispatched_at": names.rfc3339(action["decided_at"] + delay_ms),
    }


def report(action: Mapping[str, Any], kind: EventType, occurred_at: int) -> dict[str, Any]:
    """Return the interaction that says what became of an action."""
    return {
        "type": kind.value,
        "event_id": f"{action['decision_id']}:{kind.value}",
        "occurred_at": occurred_at,
        "channel": action["channel"],
        "source": _SOURCE,
        "touchpoint": "outbox",
        "amount_minor": None,
        "currency": "",
        "reference": None,
        "decision_id": action["decision_id"],
        "attributes": {"class": action["action_class"]},
        "personal": None,
    }
