"""The demo connector: holds each action for a while, checks again, delivers to a local outbox, reports.

It knows the published topics and schemas, nothing else of Attune.  At least once with a memory:
deliver, report, then commit; the outbox passes over what it has delivered.  What was delivered and is
read again after a restart is reported again, since a crash may have come between the two; a report
that is repeated has the same event id.

What repetitions of the fold's outputs are told by (see `waiting`) is committed as the metadata of the
offset: one commit, so that the two never contradict each other, and no store beside Kafka.  Kafka
takes 4,096 bytes of it, enough for some 200 journal partitions that feed one partition of actions; by
default it is one.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from agents.errors import AttuneError
from agents.outbound.applied import Applied
from agents.outbound.outbox import Outbox
from agents.outbound.waiting import Waiting
from schemas import headers as names
from schemas import identity, topics
from schemas.codec import EMBEDDED, Codec
from schemas.vocabulary import EventType

logger = logging.getLogger(__name__)

_POLL_MS = 50
_STALE_SECONDS = 5.0
"""Age of the last answer about a partition from which on its view is stale."""
_SOURCE = "demo-connector"
_NOTHING_COMMITTED = OffsetAndMetadata(-1, "")


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
        self._ends: dict[int, int] = {}
        self._last_arrival = time.monotonic()
        self.counts = {"dispatched": 0, "suppressed": 0, "expired": 0}

    async def run(self) -> None:
        """Work until cancelled; an error of a client ends it, and a restart goes on."""
        await self._assign()
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
            for tp, records in sorted(fetched.items()):
                self._last_arrival = time.monotonic()
                for record in records:
                    self._take(tp, record)
            await self._settle()
            self._write_status()

    async def _assign(self) -> None:
        """Read suppressions from their start, actions from what is settled."""
        numbers = await self._numbers()
        actions = [TopicPartition(topics.NEXT_BEST_ACTIONS, number) for number in numbers]
        holds = [TopicPartition(topics.SUPPRESSIONS, number) for number in numbers]
        self._consumer.assign([*actions, *holds])
        await self._consumer.seek_to_beginning(*holds)
        self._ends = {tp.partition: end for tp, end in (await self._consumer.end_offsets(actions)).items()}
        # The consumer's own `committed` leaves the metadata out.
        commits = await self._consumer._coordinator.fetch_committed_offsets(actions)  # noqa: SLF001
        for tp in actions:
            offset, metadata = commits.get(tp, _NOTHING_COMMITTED)
            if offset < 0:
                await self._consumer.seek_to_beginning(tp)
            else:
                self._consumer.seek(tp, offset)
            self._partitions[tp.partition] = Waiting(self._delay_ms, _applied(tp, metadata))
            self._committed[tp.partition] = max(0, offset)

    async def _numbers(self) -> list[int]:
        """Return the partitions: a customer's actions and suppressions stand in partitions of the same number."""
        actions = await self._producer.partitions_for(topics.NEXT_BEST_ACTIONS)
        holds = await self._producer.partitions_for(topics.SUPPRESSIONS)
        if actions != holds:
            raise AttuneError(
                f"{topics.NEXT_BEST_ACTIONS} has {len(actions)} partitions and {topics.SUPPRESSIONS} {len(holds)}: "
                "a customer's suppressions would not be seen beside the actions, so nothing is delivered",
                "make the smaller topic anew with as many partitions as the other; `attune topics plan` shows both",
            )
        return sorted(actions)

    def _take(self, tp: TopicPartition, record: Any) -> None:
        waiting = self._partitions[tp.partition]
        content = self._codec.decode(record.value)
        position = position_of(record)
        if tp.topic == topics.SUPPRESSIONS:
            waiting.suppression(content, position)
        else:
            waiting.decision(record.offset, content, position, done=content["decision_id"] in self._outbox)

    async def _settle(self) -> None:
        idle = self._idle_flush_seconds
        flush = idle is not None and time.monotonic() - self._last_arrival > idle
        settled: dict[TopicPartition, OffsetAndMetadata] = {}
        for number, waiting in self._partitions.items():
            if not self._has_caught_up(number):
                continue
            verdict = waiting.due(fresh=self._is_fresh(number), flush=flush)
            if verdict.dispatch:
                self._outbox.deliver([delivery(action, self._delay_ms) for action in verdict.dispatch])
            await asyncio.gather(*(self._report(action) for action in (*verdict.delivered, *verdict.dispatch)))
            for action in (*verdict.suppressed, *verdict.expired):
                await self._tell(action, EventType.MESSAGE_WITHHELD)
            self.counts["dispatched"] += len(verdict.dispatch)
            self.counts["suppressed"] += len(verdict.suppressed)
            self.counts["expired"] += len(verdict.expired)
            offset, applied = waiting.safe_point
            if offset > self._committed[number]:
                settled[TopicPartition(topics.NEXT_BEST_ACTIONS, number)] = OffsetAndMetadata(offset, str(applied))
                self._committed[number] = offset
        if settled:
            await self._consumer.commit(settled)

    def _has_caught_up(self, number: int) -> bool:
        """Return whether the actions have been read to where they ended at the start.

        A restart reads again, perhaps in smaller pieces, what an earlier run knew all of: until then an
        action whose recall stands further on would go out.
        """
        position = self._position(TopicPartition(topics.NEXT_BEST_ACTIONS, number))
        return position is not None and position >= self._ends[number]

    def _is_fresh(self, number: int) -> bool:
        """Return whether everything that stands in the suppressions of a partition has been read, just now.

        The broker said where the partition ends when it last answered for it.  An old answer says nothing:
        its leader may be frozen, or cut off.
        """
        tp = TopicPartition(topics.SUPPRESSIONS, number)
        answered_ms = self._consumer.last_poll_timestamp(tp)  # by the wall clock, see aiokafka's fetcher
        end = self._consumer.highwater(tp)
        position = self._position(tp)
        if answered_ms is None or end is None or position is None:
            return False
        age_ms = time.time() * 1_000 - answered_ms  # negative after the clock was set back: not known, hence stale
        return bool(0 <= age_ms < _STALE_SECONDS * 1_000 and position >= end)

    def _position(self, tp: TopicPartition) -> int | None:
        """Return the next offset that will be taken in, None while that is not known."""
        state = self._consumer._subscription.subscription.assignment.state_value(tp)  # noqa: SLF001 - no public sync name
        return int(state.position) if state.has_valid_position else None

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
        repeated = sum(waiting.repeated for waiting in self._partitions.values())
        fresh = self._status_file.with_suffix(".new")
        counts = {**self.counts, "recalled": recalled, "repeated": repeated, "held": held, "outbox": len(self._outbox)}
        fresh.write_text(json.dumps(counts))
        fresh.replace(self._status_file)


def position_of(record: Any) -> names.Position | None:
    """Return the journal position in a record's header; None where there is none, as the fold wrote no such record."""
    value = names.first(record.headers, names.POSITION)
    try:
        return None if value is None else names.Position.parse(value)
    except ValueError as error:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        logger.warning("%s: %s; it is taken as no output of a fold", where, error)
        return None


def _applied(tp: TopicPartition, metadata: str | None) -> Applied:
    """Return what was applied before the committed offset."""
    try:
        return Applied.parse(metadata or "")
    except ValueError as error:
        raise AttuneError(
            f"the commit of {tp.topic}/{tp.partition} carries {metadata!r:.100}, which no connector of Attune wrote",
            "give the group to nobody else; `kafka-consumer-groups --reset-offsets` writes a clean commit",
        ) from error


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
