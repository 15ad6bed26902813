"""What `attune views check` folds and compares."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from agents.cli.bar import Told
from agents.settings import Settings

_SETTLE_SECONDS = 0.5
_RUN_RECORDS = 5_000


async def compare(settings: Settings, store: Any, generation: str, wait: float, told: Told | None) -> dict[str, Any]:
    """Return how many customers were judged and what differs."""
    import functools

    from agents.cli.partitions import partitions
    from agents.clients import kafka
    from agents.documents import journal_partitions
    from agents.journal.documents import Documents
    from agents.view import ACTIONS, SUPPRESSIONS
    from agents.views.check import Check
    from agents.views.documents import Derive
    from agents.views.statetopic import StateTopic
    from schemas import identity, topics

    begun, deadline = time.monotonic(), time.monotonic() + wait
    documents = Documents()
    home = functools.partial(identity.journal_partition, partitions=await journal_partitions(settings))
    counts = await partitions(settings, topics.JOURNAL, topics.CUSTOMER_STATE, topics.NEXT_BEST_ACTIONS)
    async with AsyncExitStack() as clients:
        consumer = kafka.consumer(settings.kafka)
        clients.push_async_callback(consumer.stop)
        await consumer.start()
        kept = {
            part: await _kept_since(consumer, topic)
            for part, topic in ((ACTIONS, topics.NEXT_BEST_ACTIONS), (SUPPRESSIONS, topics.SUPPRESSIONS))
        }
        check = Check(
            store,
            generation,
            Derive(documents),
            partition_of=home,
            kept_since=kept,
        )
        differences: list[Any] = []
        for number in range(counts[topics.JOURNAL]):
            expected = await _expected(settings, consumer, documents, number, home, told)
            found = await check.partition(expected)
            deadline = max(deadline, time.monotonic() + wait)
            while found and time.monotonic() < deadline:
                await asyncio.sleep(_SETTLE_SECONDS)
                found = await check.again(expected, found)
            differences += found
        differences += await check.extra()
        topic = StateTopic(consumer)
        await topic.begin(counts[topics.CUSTOMER_STATE])
        await topic.read_on()
        while (in_topic := check.topic(topic.last)) and time.monotonic() < deadline:
            await asyncio.sleep(_SETTLE_SECONDS)
            await topic.read_on()
        differences += in_topic
    return {
        "generation": generation,
        "customers": check.judged,
        "moved_on": len(check.moved_on),
        "differences": [{"part": one.part, "customer": one.customer, "says": one.says} for one in differences],
        "seconds": round(time.monotonic() - begun, 1),
    }


async def _kept_since(consumer: Any, topic: str) -> str:
    """Return the append time of the oldest record that retention has left, empty where it has taken none."""
    from aiokafka import TopicPartition

    from schemas import headers as names
    from schemas.catalogue import CATALOGUE

    tps = [TopicPartition(topic, number) for number in range(CATALOGUE.topics[topic].partitions)]
    cut = [tp for tp, begin in (await consumer.beginning_offsets(tps)).items() if begin]
    oldest = await consumer.offsets_for_times(dict.fromkeys(cut, 0)) if cut else {}
    times = [found.timestamp for found in oldest.values() if found is not None]
    return names.rfc3339(max(times)) if times else ""


async def _expected(
    settings: Settings, consumer: Any, documents: Any, number: int, home: Callable[[str], int], told: Told | None
) -> Any:
    """Fold one journal partition to its present end; of customers who have moved away nothing is expected there.

    What a split copied is folded with its outputs: the new partition has everything of its customers.
    """
    import dataclasses

    from aiokafka import TopicPartition

    from agents import topology
    from agents.cli.folding import folding, read_documents
    from agents.history import reading, refold
    from agents.views.check import Expected, Standing
    from agents.views.documents import document_of
    from streams.partition import PARTITION_KEY, Partition

    job = dataclasses.replace(topology.fold_job(documents), muted=None)
    fold, table = folding(job, job.step)
    standing = Standing()
    tp = TopicPartition(job.source, number)
    begin, end = await reading.bounds(consumer, tp)
    reading.raise_if_cut(tp, begin)
    await read_documents(settings, documents)  # whatever was activated before the end is there now
    async for position, records in reading.runs(consumer, tp, 0, end, records=_RUN_RECORDS):
        outcome = fold(records)
        standing.take(_outputs(outcome.sends))
        if outcome.blocked is not None:
            raise refold.blocked(tp, records[outcome.consumed].offset, outcome.blocked)
        if told is not None:
            told(position, end)
    own = table.get(PARTITION_KEY) or Partition()
    standing.keep(lambda customer: home(customer) == number)
    keys = (key.decode() for key in table if not key.startswith(b"\x00"))
    states = {key: table.at_rest(key.encode()) for key in keys if home(key) == number}
    return Expected(
        number,
        end,
        {key: value for key, value in states.items() if value is not None},
        document_of(own.model),
        own.clock_ms,
        standing,
    )


def _outputs(sends: Any) -> Any:
    """Yield the outputs of a fold that views are made of, in their order within each topic and partition."""
    from agents.views.check import Output
    from agents.views.sources import READ

    for (topic, partition), entries in sends.items():
        if topic in READ:
            for key, value, headers in entries:
                yield Output(topic, partition, -1, 0, key, value, headers)
