"""Returning dead letters to where they came from, byte for byte, after what was wrong has been put right.

An interaction goes back to the partition it came from.  A journal record cannot: only the router writes the journal.
It enters as an interaction again, under its customer's surrogate, and the fold counts it then, since a failed fold
left no trace of it.  Control records are not returned: ticks follow by themselves, documents are published again.
"""

import dataclasses
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiokafka import TopicPartition

from agents.errors import AttuneError
from agents.ops.deadletters import Cluster, Letter, Opener, original, partitions, record_at, records
from schemas import deadletter, identity, topics
from schemas import headers as names
from schemas.codec import FRAME_LENGTH, frame
from schemas.deadletter import Original

_OF_THE_JOURNAL = frozenset({names.KIND, names.ORIGIN, names.SCHEMA})

FrameId = Callable[[str], Awaitable[int]]
"""From the fingerprint of a committed schema to the id that interactions bear: the registry's, or the embedded one."""


class CannotRedrive(AttuneError):
    """A dead letter that is not returned; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Return:
    """A record on its way back; `partition` None leaves the choice to the producer."""

    letter: Letter
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Redrive:
    """Plans and sends returns."""

    cluster: Cluster
    opener: Opener
    frame_id: FrameId

    async def plan(self, letter: Letter) -> Return:
        """Return what would be sent; raises CannotRedrive or, where it cannot be opened, AttuneError."""
        if letter.topic == topics.INTERACTIONS_DEAD:
            return await self._interaction(letter)
        return await self._journal_record(letter)

    async def send(self, producer: Any, wanted: Return) -> str:
        """Send it and wait until it is durable; return its place.  `producer` is aiokafka's, idempotent, started."""
        if wanted.key is None and wanted.value is None:  # which aiokafka sends in batches only
            batch = producer.create_batch()
            batch.append(key=None, value=None, timestamp=int(time.time() * 1000), headers=wanted.headers)
            sent = await (await producer.send_batch(batch, wanted.topic, partition=wanted.partition or 0))
        else:
            sent = await producer.send_and_wait(
                wanted.topic, wanted.value, key=wanted.key, partition=wanted.partition, headers=wanted.headers
            )
        return f"{sent.topic}/{sent.partition}/{sent.offset}"

    async def done(self, letters: Collection[Letter]) -> set[str]:
        """Return the places of those dead letters that were returned before, as their topic tells.

        Reads the interactions since the oldest of the letters.
        """
        if not letters:
            return set()
        consumer, since = self.cluster.consumer, min(letter.appended_ms for letter in letters)
        found: set[str] = set()
        for number in await partitions(self.cluster, topics.INTERACTIONS):
            tp = TopicPartition(topics.INTERACTIONS, number)
            end = (await consumer.end_offsets([tp]))[tp]
            start = (await consumer.offsets_for_times({tp: since}))[tp]
            if start is not None:
                async for record in records(consumer, tp, start.offset, end):
                    found |= {value.decode() for _, value in deadletter.returns(record.headers)}
        return found & {letter.place for letter in letters}

    async def _interaction(self, letter: Letter) -> Return:
        failure = letter.failure
        if failure.topic != topics.INTERACTIONS:
            raise CannotRedrive(
                f"{letter.id}: its headers name topic {failure.topic or '(none)'}, not {topics.INTERACTIONS}",
                "only what the router refused goes back there",
            )
        known = await partitions(self.cluster, topics.INTERACTIONS)
        record = await self._whole(letter)
        partition = failure.partition if failure.partition in known else None
        return Return(letter, topics.INTERACTIONS, partition, record.key, record.value, _marked(letter, record.headers))

    async def _journal_record(self, letter: Letter) -> Return:
        record = await self._whole(letter)
        kind = (names.first(record.headers, names.KIND) or b"").decode(errors="replace")
        if kind != "interaction":
            raise CannotRedrive(
                f"{letter.id}: it is a {kind or 'record of no kind'}, only interactions go back",
                "ticks and watermarks follow by themselves; publish a document again with a new version",
            )
        customer = (record.key or b"").decode("ascii", "replace")
        if not identity.is_surrogate(customer) or record.value is None or len(record.value) < FRAME_LENGTH:
            raise CannotRedrive(
                f"{letter.id}: it has no surrogate as its key or no framed value, so no router wrote it",
                f"find out who writes to {topics.JOURNAL}",
            )
        fingerprint = (names.first(record.headers, names.SCHEMA) or b"").decode("ascii", "replace")
        framed = frame(await self.frame_id(fingerprint)) + record.value[FRAME_LENGTH:]
        own = [(name, value) for name, value in record.headers if name not in _OF_THE_JOURNAL]
        return Return(
            letter,
            topics.INTERACTIONS,
            await self._origin_partition(record),
            identity.surrogate_key(customer),
            framed,
            _marked(letter, own),
        )

    async def _origin_partition(self, record: Original) -> int | None:
        try:
            partition = names.Origin.parse(names.first(record.headers, names.ORIGIN) or b"").partition
        except ValueError:
            return None
        return partition if partition in await partitions(self.cluster, topics.INTERACTIONS) else None

    async def _whole(self, letter: Letter) -> Original:
        """Return the record; one of which the letter has only the beginning from where it still stands."""
        failure = letter.failure
        kept = await original(letter, self.opener)
        if letter.whole:
            return kept
        place = f"{failure.topic}/{failure.partition}/{failure.offset}"
        record = await record_at(
            self.cluster.consumer, TopicPartition(failure.topic, failure.partition), failure.offset
        )
        if record is None:
            raise CannotRedrive(
                f"{letter.id}: only the beginning of {_cut_parts(letter)} was kept, and {place} is no longer retained",
                "ask the source to publish it again",
            )
        found = Original(record.key, record.value, list(record.headers))
        if not _is_beginning(kept, found, letter):
            raise CannotRedrive(
                f"{letter.id}: another record stands at {place}",
                "the topic was created anew; ask the source to publish it again",
            )
        return found


def _is_beginning(kept: Original, found: Original, letter: Letter) -> bool:
    """Tell whether a letter has the beginning of a record."""
    count = letter.truncated_headers
    own = found.headers if letter.sealed else deadletter.original_headers(found.headers)
    same = own == kept.headers if count is None else len(own) == count and own[: len(kept.headers)] == kept.headers
    return (
        same
        and _begins(kept.key, found.key, letter.truncated_key)
        and _begins(kept.value, found.value, letter.truncated)
    )


def _begins(kept: bytes | None, found: bytes | None, length: int | None) -> bool:
    if length is None or kept is None or found is None:
        return kept == found
    return len(found) == length and found.startswith(kept)


def _cut_parts(letter: Letter) -> str:
    parts = [
        f"its value of {letter.truncated:,} bytes" if letter.truncated is not None else "",
        f"its key of {letter.truncated_key:,} bytes" if letter.truncated_key is not None else "",
        f"its {letter.truncated_headers:,} headers" if letter.truncated_headers is not None else "",
    ]
    return " and of ".join(filter(None, parts))


def _marked(letter: Letter, headers: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    return [*headers, (deadletter.REDRIVEN, letter.place.encode())]
