"""What can go wrong with one of three brokers while all topics are replicated three times."""

import asyncio
from typing import Any

from agents.clients import kafka
from tests.faults.brokers import NODES, Brokers
from tests.faults.faults import Fault
from tests.faults.main_job import MainJob
from tests.faults.recovery import Recovery


async def lost(job: MainJob, recovery: Recovery) -> None:
    """Kill one, start it again once all is folded."""
    node = job.rng.choice(NODES)
    brokers = _brokers(job)
    brokers.stop(node)
    recovery.begins()
    await recovery.over()
    brokers.start(node)
    await whole(job)


async def cut_off(job: MainJob, recovery: Recovery) -> None:
    """Let nothing pass between one and the others until all is folded."""
    brokers = _brokers(job)
    brokers.cut_off(job.rng.choice(NODES))
    recovery.begins()
    try:
        await recovery.over()
    finally:
        brokers.links.mend()
    await whole(job)


BROKER_FAULTS = (
    Fault("one of three brokers is lost", "others lead its partitions; workers follow", "the kill", lost),
    Fault(
        "one of three brokers is cut off from the others, not from clients",
        "what it alone has taken is never acknowledged, and sent again to the new leader",
        "the cut",
        cut_off,
    ),
)


def _brokers(job: MainJob) -> Brokers:
    assert job.brokers is not None
    return job.brokers


async def whole(job: MainJob) -> None:
    """Wait until every partition has all its replicas in sync again."""
    client = kafka.consumer(job.settings.kafka, request_timeout_ms=5_000)
    await client.start()
    try:
        async with asyncio.timeout(120):
            while True:
                metadata: Any = await client._client.fetch_all_metadata()
                found = [one for topic in metadata._partitions.values() for one in topic.values()]
                if found and all(len(one.isr) == len(NODES) for one in found):
                    return
                await asyncio.sleep(0.3)
    finally:
        await client.stop()
