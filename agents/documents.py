"""Documents from the outside: published from bytes, listed with their approvals, approved again to go back."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.clients import kafka
from agents.errors import AttuneError
from agents.journal import placement
from agents.journal.approval import LOGIC
from agents.journal.placement import Placement
from agents.journal.publish import TOPIC_OF_KIND, approve, check, conflict, publish_document
from agents.settings import Settings
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.errors import ContractError
from schemas.topics import APPROVALS, JOURNAL


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What was approved; `sequence` is the approval's offset and orders activations. Of logic `sha256` is empty."""

    kind: str
    name: str
    version: str
    sha256: str
    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """One version of a document, and how often it was approved; `approvals` are offsets, the newest last.

    `is_active` says that the newest approval of its kind is one of them: only one document of a kind decides.
    `approved_by` and `approved_at` (milliseconds since 1970) are of its newest approval.
    """

    kind: str
    name: str
    version: str
    sha256: str
    approvals: tuple[int, ...]
    approved_by: str
    approved_at: int | None
    is_active: bool


async def publish(settings: Settings, kind: str, raw: bytes, *, approved_by: str) -> Published:
    """Check and publish a document of kind `policy` or `model`; the coordinator then activates it.

    Raises InvalidPolicy or InvalidModel, and AttuneError when other bytes stand under that version.
    """
    document = check(kind, raw)
    async with _consumer(settings) as consumer:
        existing = await _whole(consumer, TOPIC_OF_KIND[kind])
    reason = conflict(document, existing)
    if reason is not None:
        raise AttuneError(reason, f"set a new version in the {kind} document")
    async with _producer(settings) as producer:
        sequence = await publish_document(producer, document, approved_by=approved_by)
    return Published(kind, document.name, document.version, document.sha256, sequence)


async def versions(settings: Settings, kind: str) -> list[Version]:
    """Return every published version of a kind, by name and version."""
    async with _consumer(settings) as consumer:
        documents = await _whole(consumer, TOPIC_OF_KIND[kind])
        approvals = await _approvals(consumer, kind)
    newest = approvals[-1]["sha256"] if approvals else None
    found = []
    for record in documents:
        _, name, version, _ = record.key.decode().split("/")
        digest = hashlib.sha256(record.value).hexdigest()
        own = [approval for approval in approvals if approval["sha256"] == digest]
        found.append(
            Version(
                kind,
                name,
                version,
                digest,
                tuple(approval["sequence"] for approval in own),
                own[-1]["approved_by"] if own else "",
                own[-1]["approved_at"] if own else None,
                digest == newest,
            )
        )
    unique = {(document.name, document.version, document.sha256): document for document in found}
    return [unique[key] for key in sorted(unique, key=_in_order)]


async def roll_back(settings: Settings, kind: str, *, to: str | None, approved_by: str) -> Published:
    """Approve a version again that was active before: `name`, `name/version`, or by default the one before the present.

    What a presented offer promised is kept; the next decisions are by that version. Raises AttuneError where there is
    nothing to go back to.
    """
    every = await versions(settings, kind)
    chosen = _named(every, kind, to) if to is not None else _before(every, kind)
    if chosen.is_active:
        raise AttuneError(
            f"{kind} {chosen.name} {chosen.version} is the active one", f"`attune {kind} list` shows the others"
        )
    async with _producer(settings) as producer:
        sequence = await approve(producer, kind, chosen.name, chosen.version, chosen.sha256, approved_by=approved_by)
    return Published(kind, chosen.name, chosen.version, chosen.sha256, sequence)


async def activate_logic(settings: Settings, version: int, *, approved_by: str) -> Published:
    """Approve a version of the core's behaviour."""
    async with _producer(settings) as producer:
        sequence = await approve(producer, LOGIC, LOGIC, str(version), "", approved_by=approved_by)
    return Published(LOGIC, LOGIC, str(version), "", sequence)


async def journal_placement(settings: Settings) -> Placement:
    """Return over how many partitions of the journal customers are spread, and what is known of a split."""
    async with _consumer(settings) as consumer:
        approvals = await _approvals(consumer, placement.KIND)
    return placement.placement(approvals, CATALOGUE.topics[JOURNAL].partitions)


async def journal_partitions(settings: Settings) -> int:
    """Return the number of partitions by which customers are placed now, for those who look somebody up."""
    return (await journal_placement(settings)).partitions


async def partitions_to_write(settings: Settings) -> int:
    """Return the number of partitions by which customers are placed, for those who write into the journal.

    Raises AttuneError while nobody may write.
    """
    found = await journal_placement(settings)
    if found.closed:
        raise AttuneError(
            f"the journal is closed: it is being split to {found.copying_to} partitions",
            f"wait until `attune journal split --to {found.copying_to}` is done; if it has died, run it again, it goes "
            "on where it was (`attune journal status` shows how far it is)",
        )
    return found.partitions


async def approve_placement(settings: Settings, step: placement.Step, partitions: int, *, approved_by: str) -> None:
    """Write what is known of the journal's partitions into the log of approvals."""
    async with _producer(settings) as producer:
        await approve(producer, placement.KIND.lower(), step.value, str(partitions), "", approved_by=approved_by)


def _in_order(key: tuple[str, str, str]) -> tuple[str, int, str]:
    name, version, digest = key
    return name, int(version) if version.isdecimal() else 0, digest


def _named(every: list[Version], kind: str, to: str) -> Version:
    name, slash, version = to.partition("/")
    found = [one for one in every if one.name == name and (not slash or one.version == version)]
    if not found:
        raise AttuneError(f"no {kind} {to} was published", f"`attune {kind} list` shows what was")
    if not slash:
        return _before([one for one in every if one.name == name], kind)
    return found[-1]


def _before(every: list[Version], kind: str) -> Version:
    """Return the version that was active before the present one."""
    past = [one for one in every if one.approvals and not one.is_active]
    if not past:
        raise AttuneError(
            f"no other {kind} was active before",
            f"publish one with `attune {kind} publish`; `attune {kind} list` shows what there is",
        )
    return max(past, key=lambda one: one.approvals[-1])


async def _approvals(consumer: AIOKafkaConsumer, kind: str) -> list[dict[str, Any]]:
    """Return the approvals of a kind, oldest first; what is none is passed over, as the coordinator does."""
    found = []
    for record in await _whole(consumer, APPROVALS):
        try:
            body = EMBEDDED.decode(record.value, "Control")["body"]
        except ContractError:
            continue
        if body.get("kind") == kind.upper():
            found.append({**body, "sequence": record.offset})
    return found


async def _whole(consumer: AIOKafkaConsumer, topic: str) -> list[Any]:
    """Return the records of a topic with one partition, those without a value left out; AttuneError for no topic."""
    if topic not in await consumer.topics():  # a client that asks for a missing one does so two thousand times a second
        raise AttuneError(f"there is no topic {topic}, or it may not be seen", "`attune topics apply` creates it")
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    end = (await consumer.end_offsets([tp]))[tp]
    records: list[Any] = []
    while await consumer.position(tp) < end:
        records += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
    return [record for record in records if record.value is not None]


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[Any]:
    producer = kafka.producer(settings.kafka)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()
