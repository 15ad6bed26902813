"""Topics that are deleted and made anew under the main job: told by who has read them, begun again on purpose."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from agents.clients import kafka
from agents.topology import COORDINATOR_GROUP, ROUTER_GROUP
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.faults.main_job import MainJob, main_job

pytestmark = pytest.mark.kafka

OF_A_JOURNAL = (
    topics.JOURNAL,
    topics.JOURNAL_DEAD,
    topics.FOLD_CHANGELOG,
    topics.ROUTER_MARKS,
    topics.NEXT_BEST_ACTIONS,
    topics.SUPPRESSIONS,
    topics.CUSTOMER_STATE,
)
"""What deploy/README.md says is deleted with a journal."""
WORDS = "begin a new journal (deploy/README.md, A new journal)"


async def published(job: MainJob, at_least: int) -> None:
    """Publish so many interactions more."""
    wanted = job.published.good + at_least
    async with job.publishing(pace=2_000):
        while job.published.good < wanted:
            await asyncio.sleep(0.1)


async def end(job: MainJob, role: str) -> str:
    """Wait until a worker ends by itself, and return what it has said."""
    assert await asyncio.to_thread(job.workers.pop(role).wait, 90) != 0
    return job.log(role)


async def test_interactions_that_are_made_anew_are_refused_until_a_new_journal_begins(tmp_path: Path) -> None:
    """Offsets begin at 0 again, so that the fold would take what comes for copies: the router does not route it.

    It tells by what it has marked, though the new topic has come further than the old one and Kafka has deleted what
    was committed.  With a new journal, as deploy/README.md says, everything that the topic has now is folded once.
    """
    async with main_job(tmp_path, seed=11) as job:
        job.start_all()
        await published(job, 500)
        await job.prove()
        job.kill("router")
        await job.make_anew(topics.INTERACTIONS)
        job.published = type(job.published)()
        await published(job, 1_500)
        job.start("router")
        said = await end(job, "router")
        assert "is not the one that was read there" in said, said
        assert WORDS in said, said
        job.stop()
        await job.make_anew(*OF_A_JOURNAL, topics.INTERACTIONS_DEAD)
        await _read_again(job, COORDINATOR_GROUP, topics.APPROVALS)
        await _read_again(job, ROUTER_GROUP, topics.INTERACTIONS)
        job.start_all()
        report = await job.prove()
        assert report["interactions"] >= 1_500


async def test_a_journal_that_is_made_anew_is_refused_until_it_is_begun_on_purpose(tmp_path: Path) -> None:
    """Ticks of the clock alone have carried it beyond what was folded: the fold says that it is another one.

    Begun anew as deploy/README.md says, with the router's group set back, it has all interactions that there are.
    """
    async with main_job(tmp_path, seed=12) as job:
        job.start_all()
        await published(job, 200)
        await job.prove()
        await job.leave("fold")
        await job.make_anew(topics.JOURNAL)
        deadline = time.monotonic() + 60
        while await _shortest(job) < 200 and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
        job.start("fold")
        said = await end(job, "fold")
        assert "is not the one that was read there" in said, said
        assert WORDS in said, said
        job.stop()
        await job.make_anew(*OF_A_JOURNAL)
        await _read_again(job, COORDINATOR_GROUP, topics.APPROVALS)
        await _read_again(job, ROUTER_GROUP, topics.INTERACTIONS)
        job.start_all()
        await job.prove()


async def _read_again(job: MainJob, group: str, topic: str) -> None:
    """Set a group back to a topic's beginning, as `kafka-consumer-groups.sh --reset-offsets --to-earliest` does."""
    member = kafka.consumer(job.settings.kafka, group=group)
    await member.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(CATALOGUE.topics[topic].partitions)]
        member.assign(partitions)
        await member.commit(dict.fromkeys(partitions, 0))
    finally:
        await member.stop()


async def _shortest(job: MainJob) -> int:
    reader: Any = kafka.consumer(job.settings.kafka)
    await reader.start()
    try:
        partitions = [TopicPartition(topics.JOURNAL, n) for n in range(CATALOGUE.topics[topics.JOURNAL].partitions)]
        return min((await reader.end_offsets(partitions)).values())
    finally:
        await reader.stop()
