"""The fold of the journal for those who only look: its documents and its journal, read and never written."""

from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agents.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agents.engine.fold import Fold
    from agents.engine.job import Job
    from agents.journal.documents import Documents


@asynccontextmanager
async def reader(settings: Settings) -> "AsyncIterator[Any]":
    """Yield a started consumer without a group, with large fetches."""
    from agents.clients import kafka
    from agents.history.reading import FETCH_BYTES

    consumer = kafka.consumer(settings.kafka, max_partition_fetch_bytes=FETCH_BYTES, fetch_max_bytes=FETCH_BYTES)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def read_documents(settings: Settings, documents: "Documents") -> None:
    """Read what was published so far: everything that was activated before now is there then, or is missing."""
    from agents.clients import kafka

    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        await documents.read(consumer)
    finally:
        await consumer.stop()


def release() -> str:
    """Return the version of the core that folds here."""
    import importlib.metadata

    return importlib.metadata.version("attune-streams")


def folding(job: "Job", step: Callable[[Any, Any], Sequence[Any]]) -> "tuple[Fold, Any]":
    """Return the engine's fold of a job around another step, and its empty table.

    Every output topic has one partition: what is given out keeps its order. There is no changelog batch to be cut.
    """
    import dataclasses

    from agents.engine.fold import Fold
    from agents.engine.restore import new_table

    quiet = dataclasses.replace(job, step=step, partitioner=_only_one, max_batch_bytes=_NO_LIMIT)
    table = new_table(quiet)
    return Fold(quiet, table, dict.fromkeys(job.outputs, 1)), table


def _only_one(_topic: str, _key: bytes | None, _partitions: int) -> int:
    return 0


_NO_LIMIT = 1 << 60
