"""Documents from the outside: published from bytes, listed with their approvals, approved again to go back."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.clients import kafka
from agents.errors import AttuneError, UsageError
from agents.journal import placement
from agents.journal.approval import LOGIC, Find, NotActivated, examine
from agents.journal.placement import Placement
from agents.journal.publish import TOPIC_OF_KIND, approve, check, conflict, publish_document
from agents.settings import Settings
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.errors import ContractError
from schemas.topics import APPROVALS, JOURNAL

_LONGEST_NAME = 200


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

    `is_active` says that the newest approval of its kind that could be activated is one of them: only one document of a
    kind decides. `approved_by` and `approved_at` (milliseconds since 1970) are of its newest approval. `passed_over`
    says why that one, newer than what is active, activates nothing, as the coordinator of this release judges it; None
    for all others.
    """

    kind: str
    name: str
    version: str
    sha256: str
    approvals: tuple[int, ...]
    approved_by: str
    approved_at: int | None
    is_active: bool
    passed_over: str | None = None


async def publish(settings: Settings, kind: str, raw: bytes, *, approved_by: str) -> Published:
    """Check and publish a document of kind `policy` or `model`; the coordinator then activates it.

    Raises InvalidPolicy or InvalidModel, AttuneError when other bytes stand under that version, and UsageError for a
    name of who approves that cannot stand in the log.
    """
    check_approver(approved_by)
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
    found, _ = await _published(settings, kind)
    return found


async def _published(settings: Settings, kind: str) -> tuple[list[Version], Find]:
    """Return every published version of a kind, and what finds their documents."""
    async with _consumer(settings) as consumer:
        documents = await _whole(consumer, TOPIC_OF_KIND[kind])
        approvals = await _approvals(consumer, kind)
    raw = {hashlib.sha256(record.value).hexdigest(): record.value for record in documents}

    async def find(sha256: str) -> bytes | None:
        return raw.get(sha256)

    active, passed_over = await _judged(approvals, find)
    found: dict[tuple[str, str, str], Version] = {}
    for record in documents:
        named = _named_by(record.key)
        if named is None:
            continue  # written by hand: what was published has a key that says what it is
        digest = hashlib.sha256(record.value).hexdigest()
        own = [approval for approval in approvals if approval["sha256"] == digest]
        found[*named, digest] = Version(
            kind,
            *named,
            digest,
            tuple(approval["sequence"] for approval in own),
            own[-1]["approved_by"] if own else "",
            own[-1]["approved_at"] if own else None,
            digest == active,
            passed_over.get(digest),
        )
    return [found[key] for key in sorted(found, key=_in_order)], find


async def _judged(approvals: Sequence[Mapping[str, Any]], find: Find) -> tuple[str | None, dict[str, str]]:
    """Return the digest of what decides, and why each newer approval activates nothing, by digest.

    The coordinator's own judgement is asked: activations stand in the journal, too long to be read for a list.
    """
    passed_over: dict[str, str] = {}
    for one in reversed(approvals):
        try:
            await examine(one, find)
        except NotActivated as error:
            passed_over.setdefault(one["sha256"], str(error))
        else:
            passed_over.pop(one["sha256"], None)
            return one["sha256"], passed_over
    return None, passed_over


def _named_by(key: bytes | None) -> tuple[str, str] | None:
    """Return name and version from the key of a document, None for a key that publishing does not write."""
    parts = (key or b"").decode(errors="replace").split("/")
    return (parts[1], parts[2]) if len(parts) == 4 else None


async def roll_back(settings: Settings, kind: str, *, to: str | None, approved_by: str) -> Published:
    """Approve a version again that was active before: `name`, `name/version`, or by default the one before the present.

    What a presented offer promised is kept; the next decisions are by that version. Raises AttuneError where there is
    nothing to go back to, or what is named cannot be activated, and UsageError as `publish`.
    """
    check_approver(approved_by)
    every, find = await _published(settings, kind)
    chosen = _named(every, kind, to) if to is not None else _before(every, kind)
    if chosen.is_active:
        raise AttuneError(
            f"{kind} {chosen.name} {chosen.version} is the active one", f"`attune {kind} list` shows the others"
        )
    try:
        await examine(
            {"kind": kind.upper(), "name": chosen.name, "version": chosen.version, "sha256": chosen.sha256}, find
        )
    except NotActivated as error:
        raise AttuneError(
            f"{kind} {chosen.name} {chosen.version[:40]} would be passed over: {error}",
            f"name another one with --to; `attune {kind} list` shows them",
        ) from error
    async with _producer(settings) as producer:
        sequence = await approve(producer, kind, chosen.name, chosen.version, chosen.sha256, approved_by=approved_by)
    return Published(kind, chosen.name, chosen.version, chosen.sha256, sequence)


async def activate_logic(settings: Settings, version: int, *, approved_by: str) -> Published:
    """Approve a version of the core's behaviour; UsageError as `publish`."""
    check_approver(approved_by)
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
    """Write what is known of the journal's partitions into the log of approvals; UsageError as `publish`."""
    check_approver(approved_by)
    async with _producer(settings) as producer:
        await approve(producer, placement.KIND.lower(), step.value, str(partitions), "", approved_by=approved_by)


def check_approver(name: str) -> None:
    """Raise UsageError for a name that cannot stand in the log of approvals, or that nobody could read there."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        shown = ascii(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")
        raise UsageError(
            f"--by {shown} is no name that can stand in the log of approvals",
            f"write 1 to {_LONGEST_NAME} characters that can be printed, in UTF-8",
        )


def _in_order(key: tuple[str, str, str]) -> tuple[str, int, str, str]:
    """Sort versions that are numbers by their length first, which orders them and converts none of them."""
    name, version, digest = key
    number = version.lstrip("0") if version.isdecimal() else ""
    return name, len(number), number, digest


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
    past = [one for one in every if one.approvals and not one.is_active and one.passed_over is None]
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
