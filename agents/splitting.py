"""A split of the journal with real clients: what the commands `attune journal split` and `status` do."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import NewPartitions

from agents import documents, topology
from agents.clients import kafka
from agents.errors import AttuneError
from agents.journal import split as order
from agents.journal.copies import Copies, Told
from agents.journal.placement import Placement
from agents.journal.split import Cluster, Done
from agents.ops import members
from agents.settings import Settings
from schemas.topics import FOLD_CHANGELOG, JOURNAL

_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What there is before a split."""

    placement: Placement
    existing: int
    """Partitions of the journal."""
    changelog: int
    """Partitions of the fold's changelog."""


async def plan(settings: Settings, wanted: int) -> Plan:
    """Return what there is; raises UsageError for a number that the journal cannot be split to."""
    found = await _look(settings)
    if found.placement.partitions != wanted:
        order.check(found.placement, found.existing, wanted)
    return found


async def rehearse(settings: Settings, found: Plan, wanted: int, told: Told | None) -> dict[int, int]:
    """Return how many records would be copied into each new partition."""
    async with _clients(settings) as (consumer, _, _):
        copies = Copies(JOURNAL, found.placement.partitions, wanted, consumer, None)
        if found.existing >= wanted:
            await copies.open()
        await copies.catch_up(told)
    return {target.number: target.copied for target in copies.targets}


async def split(
    settings: Settings,
    found: Plan,
    wanted: int,
    *,
    approved_by: str,
    wait: float | None,
    say: Callable[[str], None],
    told: Told | None,
) -> Done:
    """Create the partitions, then split; raises AttuneError where it cannot go on."""
    async with _clients(settings) as (consumer, producer, admin):
        # The changelog first: folds that see more partitions of the journal look for as many there.
        for topic, existing in ((FOLD_CHANGELOG, found.changelog), (JOURNAL, found.existing)):
            if existing < wanted:
                await admin.create_partitions({topic: NewPartitions(wanted)})
            await _settled(admin, topic, wanted)

        async def present() -> int:
            groups = (topology.ROUTER_GROUP, topology.COORDINATOR_GROUP)
            return sum([len((await members.describe(admin, group))[1]) for group in groups])

        async def folded() -> dict[int, int]:
            committed = await members.answered(lambda: admin.list_consumer_group_offsets(topology.FOLD_GROUP))
            return {tp.partition: at.offset for tp, at in committed.items() if tp.topic == JOURNAL}

        cluster = Cluster(
            members=present,
            folded=folded,
            approve=lambda step, number: documents.approve_placement(settings, step, number, approved_by=approved_by),
            say=say,
            told=told,
        )
        copies = Copies(JOURNAL, found.placement.partitions, wanted, consumer, producer)
        return await order.split(found.placement, wanted, copies, cluster, wait=wait)


async def status(settings: Settings) -> dict[str, Any]:
    """Return the numbers, and how far a split is."""
    found = await _look(settings)
    left = 0
    going_to = found.placement.copying_to
    if going_to is not None and found.existing >= going_to:
        async with _clients(settings) as (consumer, _, _):
            copies = Copies(JOURNAL, found.placement.partitions, going_to, consumer, None)
            await copies.open()
            left = await copies.left()
    return {
        "partitions": found.placement.partitions,
        "existing": found.existing,
        "changelog": found.changelog,
        "copying_to": going_to,
        "closed": found.placement.closed,
        "left": left,
    }


async def _look(settings: Settings) -> Plan:
    placement = await documents.journal_placement(settings)
    async with _clients(settings) as (_, _, admin):
        counts = {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics()}
    for topic in (JOURNAL, FOLD_CHANGELOG):
        if topic not in counts:
            raise AttuneError(f"there is no topic {topic}", "`attune topics apply` creates it")
    return Plan(placement, counts[JOURNAL], counts[FOLD_CHANGELOG])


async def _settled(admin: Any, topic: str, wanted: int) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        (found,) = [one for one in await admin.describe_topics() if one["topic"] == topic]
        if sum(partition["leader"] >= 0 for partition in found["partitions"]) >= wanted:
            return
        if time.monotonic() > deadline:
            raise AttuneError(
                f"after {_SETTLE_SECONDS:.0f} s not all {wanted} partitions of {topic} have a leader",
                "see whether all brokers are up, then run the same command again",
            )
        await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _clients(settings: Settings) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Yield a consumer, a producer and an admin client."""
    consumer, producer, admin = (
        kafka.consumer(settings.kafka),
        kafka.producer(settings.kafka, max_batch_size=kafka.LARGE_BATCH_BYTES),
        kafka.admin(settings.kafka),
    )
    try:
        await consumer.start()
        await producer.start()
        await admin.start()
        yield consumer, producer, admin
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.close()
