"""Dead letters: what failed where and why, and the record as it was.

A dead letter of the interactions is sealed whole, headers too, since what was not understood may hold personal data
anywhere; one of the journal stands as it was, since its key is a surrogate and its personal block is sealed already.
"""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from agents.errors import AttuneError, UsageError
from schemas import deadletter, deadletter_envelope, topics
from schemas import headers as names
from schemas.catalogue import CATALOGUE, FOREVER
from schemas.codec import decode_by_fingerprint, fingerprint_of
from schemas.deadletter import Original
from schemas.errors import ContractError
from schemas.sealed import Sealed

TOPICS = {"interactions": topics.INTERACTIONS_DEAD, "journal": topics.JOURNAL_DEAD}
"""Short names of the dead-letter topics."""

Opener = Callable[[Sealed], Awaitable[bytes]]
"""Opens a sealed block with the key store; raises AttuneError where its key is gone."""


class Cluster(NamedTuple):
    """Clients of aiokafka, started: an admin client, and a consumer with neither group nor subscription."""

    admin: Any
    consumer: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as it stands in its topic."""

    topic: str
    partition: int
    offset: int
    appended_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def id(self) -> str:
        """How a person names it: `interactions/12`, or with partition where that is not 0."""
        short = next((name for name, topic in TOPICS.items() if topic == self.topic), None)
        if short is None or self.partition:
            return f"{self.topic}/{self.partition}/{self.offset}"
        return f"{short}/{self.offset}"

    @property
    def place(self) -> str:
        """Its topic, partition and offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def failure(self) -> deadletter.Failure:
        """Where the record was, where it failed, and on what."""
        return deadletter.parse(self.headers)

    @property
    def sealed(self) -> bool:
        """Whether key, value and headers are in an envelope."""
        return names.first(self.headers, deadletter.ENCRYPTED) is not None

    @property
    def truncated(self) -> int | None:
        """Length of the original value, bytes, if only its beginning was kept."""
        return self._mark(deadletter.TRUNCATED)

    @property
    def truncated_key(self) -> int | None:
        """Length of the original key, bytes, if only its beginning was kept."""
        return self._mark(deadletter.TRUNCATED_KEY)

    @property
    def truncated_headers(self) -> int | None:
        """How many headers there were, if only the first were kept."""
        return self._mark(deadletter.TRUNCATED_HEADERS)

    @property
    def whole(self) -> bool:
        """Whether everything of the record was kept."""
        return self.truncated is None and self.truncated_key is None and self.truncated_headers is None

    @property
    def redriven(self) -> int:
        """How often the record was returned before it failed this time."""
        return sum(name == deadletter.REDRIVEN for name, _ in self.headers)

    @property
    def expires_ms(self) -> int | None:
        """When it may be deleted, milliseconds since 1970; None for never."""
        topic = CATALOGUE.topics.get(self.topic)
        return None if topic is None or topic.retention_ms == FOREVER else self.appended_ms + topic.retention_ms

    def to_json(self) -> dict[str, Any]:
        """Return what may be shown without opening anything."""
        found = self.failure
        return {
            "id": self.id,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "appended_at": iso(self.appended_ms),
            "expires_at": None if self.expires_ms is None else iso(self.expires_ms),
            "origin": {"topic": found.topic, "partition": found.partition, "offset": found.offset},
            "stage": found.stage,
            "class_name": found.class_name,
            "exception_class": found.exception_class,
            "reason": found.message,
            "sealed": self.sealed,
            "truncated": self.truncated,
            "truncated_key": self.truncated_key,
            "truncated_headers": self.truncated_headers,
            "redriven": self.redriven,
        }

    def _mark(self, name: str) -> int | None:
        found = deadletter.number(names.first(self.headers, name))
        return None if found < 0 else found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which dead letters are meant: `reason` is looked for in exception and message, offsets are inclusive."""

    topics: tuple[str, ...] = tuple(TOPICS.values())
    reason: str | None = None
    first: int | None = None
    last: int | None = None

    def __call__(self, letter: Letter) -> bool:
        """Tell whether a dead letter is meant."""
        if self.first is not None and letter.offset < self.first:
            return False
        if self.last is not None and letter.offset > self.last:
            return False
        found = letter.failure
        words = f"{found.exception_class} {found.message}".lower()
        return self.reason is None or self.reason.lower() in words


def parse_id(text: str) -> tuple[TopicPartition, int]:
    """Return topic-partition and offset of a dead letter's id; UsageError for anything else."""
    name, _, offset = text.rpartition("/")
    topic, slash, partition = name.rpartition("/")
    if offset.isdigit() and name in TOPICS:
        return TopicPartition(TOPICS[name], 0), int(offset)
    if offset.isdigit() and slash and partition.isdigit() and topic in TOPICS.values():
        return TopicPartition(topic, int(partition)), int(offset)
    raise UsageError(
        f"{text!r} names no dead letter",
        f"write e.g. interactions/12 or {topics.JOURNAL_DEAD}/0/3; see `attune dlq list`",
    )


async def read(cluster: Cluster, wanted: Filter) -> AsyncIterator[Letter]:
    """Yield the dead letters that are retained now, topic after topic in order; AttuneError for a missing topic."""
    consumer = cluster.consumer
    for topic in wanted.topics:
        numbers = await partitions(cluster, topic)
        for tp in (TopicPartition(topic, number) for number in numbers):
            begin = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
            start = begin if wanted.first is None else max(begin, wanted.first)
            async for record in records(consumer, tp, start, end if wanted.last is None else min(end, wanted.last + 1)):
                letter = _letter(record)
                if wanted(letter):
                    yield letter


async def one(cluster: Cluster, text: str) -> Letter:
    """Return the dead letter of an id; AttuneError where it is no longer, or not yet, there."""
    tp, offset = parse_id(text)
    known = tp.partition in await partitions(cluster, tp.topic)
    record = await record_at(cluster.consumer, tp, offset) if known else None
    if record is None:
        raise AttuneError(f"there is no dead letter {text}", "see `attune dlq list`; they are kept for 14 days")
    return _letter(record)


async def original(letter: Letter, opener: Opener) -> Original:
    """Return the record as it was, byte for byte; AttuneError where it cannot be opened."""
    if not letter.sealed:
        own = [header for header in deadletter.original_headers(letter.headers) if header[0] != names.POSITION]
        return Original(letter.key, letter.value, own)
    try:
        envelope = decode_by_fingerprint(fingerprint_of("DeadLetterEnvelope"), letter.value, "DeadLetterEnvelope")
        block = Sealed(envelope["key_id"], envelope["nonce"], envelope["ciphertext"])
        return deadletter_envelope.unpack(await opener(block))
    except ContractError as error:
        raise AttuneError(
            f"dead letter {letter.id} says it is sealed and holds no envelope: {error}",
            f"see with another tool what stands at {letter.place}",
        ) from error


async def record_at(consumer: Any, tp: TopicPartition, offset: int) -> Any | None:
    """Return the record at an offset, or None where there is none."""
    begin = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    if not begin <= offset < end:
        return None
    async for record in records(consumer, tp, offset, offset + 1):
        return record
    return None


async def records(consumer: Any, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Any]:
    """Yield the records of one partition with start <= offset < end."""
    if start >= end:
        return
    consumer.assign([tp])
    consumer.seek(tp, start)
    while await consumer.position(tp) < end:
        for record in (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, ()):
            if record.offset < end:
                yield record


async def partitions(cluster: Cluster, topic: str) -> list[int]:
    """Return the partitions of a topic; AttuneError where it does not exist."""
    for known in await cluster.admin.describe_topics():  # all of them: asking for one by name could create it
        if known["topic"] == topic:
            return sorted(partition["partition"] for partition in known["partitions"])
    raise AttuneError(f"topic {topic} does not exist", "create the topics with `attune topics apply`")


def _letter(record: Any) -> Letter:
    return Letter(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(record.headers),
    )


def iso(time_ms: int) -> str:
    """Write milliseconds since 1970 as ISO 8601 in UTC; what no calendar has as the number."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
