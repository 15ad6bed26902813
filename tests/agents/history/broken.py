"""A platform whose journal has lost its beginning, or asks for a document that nobody published."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from agents.clients import kafka
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings
from schemas import topics
from tests.agents.history.recorded import Recorded
from tests.faults.main_job import job_on
from tests.streams.journal import MODEL, Journal


@contextmanager
def cut_journal(directory: Path) -> Iterator[Recorded]:
    """Yield a journal whose partition 0 has ten records, of which the first five are gone; the others are empty."""
    platform = LocalPlatform(directory / "platform")
    platform.start()
    try:
        connection = KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1)
        yield asyncio.run(_cut(connection, platform.redis_url, directory))
    finally:
        platform.stop()


async def _cut(connection: KafkaSettings, redis_url: str, directory: Path) -> Recorded:
    async with job_on(connection, redis_url, directory, seed=1) as job:
        journal = Journal(policy=None, model=None)
        for number in range(10):
            journal.interact("visit.made", event_id=f"visit-{number}")
        found = Recorded(job, {}, 0, journal.records)
        await _append(found, journal, 0)
        admin = kafka.admin(connection)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(topics.JOURNAL, 0): RecordsToDelete(before_offset=5)})
        finally:
            await admin.close()
        return found


@contextmanager
def journal_without_document(past: Recorded) -> Iterator[Recorded]:
    """Yield the same with a partition 1 that asks for a model which is nowhere."""
    journal = Journal(policy=None, model=None)
    journal.activate("MODEL", MODEL.replace(b"retail-activity", b"retail-absent"), 1)
    journal.interact("visit.made")
    asyncio.run(_append(past, journal, 1))
    yield past


async def _append(past: Recorded, journal: Journal, partition: int) -> None:
    producer = kafka.producer(past.settings.kafka)
    await producer.start()
    try:
        for record in journal.records:
            await producer.send(
                topics.JOURNAL, record.value, key=record.key, headers=record.headers, partition=partition
            )
        await producer.flush()
    finally:
        await producer.stop()
