"""Two releases side by side: today's and the next one, whose behaviour and states are switched through the journal."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from agents import documents
from agents.clients import kafka
from agents.engine import changelog
from schemas import headers as names
from schemas import topics
from schemas.codec import EMBEDDED
from streams.partition import PARTITION_KEY
from streams.state import VERSION
from tests.faults.main_job import ROOT, MainJob, main_job
from tests.faults.next_release import RELEASE
from tests.faults.test_split import whole

pytestmark = pytest.mark.kafka

PARTITIONS = 6


async def test_two_releases_side_by_side(tmp_path: Path) -> None:
    """Partitions move between the releases both ways; logic 2 waits for the next one; logic 1 is the way back.

    While logic 1 is active both write the same; then the old release's partitions wait and say why, nothing is lost or
    dead-lettered. New states are written from the activation on, and the oracle with the next core holds over it all.
    """
    async with main_job(tmp_path, seed=31) as job:
        job.start_all()
        async with job.publishing(pace=300):
            await job.at_work()
            start_next(job, "fold", "next-1")
            await asyncio.sleep(6)
            job.kill("fold")
            await asyncio.sleep(3)
            job.start("fold", "old-2")
            await asyncio.sleep(9)
            job.kill("next-1")
            await asyncio.sleep(3)
            start_next(job, "fold", "next-2")
            await asyncio.sleep(9)
            assert await job.leave("coordinator") == 0
            start_next(job, "coordinator", "coordinator")
            await documents.activate_logic(job.settings, 2, approved_by="ann")
            async with asyncio.timeout(60):
                while not waiting(job, "old-2"):
                    await asyncio.sleep(0.3)
            assert "start a newer release, the partition waits for it" in job.log("old-2")
            assert await job.leave("old-2") == 0
            await asyncio.sleep(6)
            await documents.activate_logic(job.settings, 1, approved_by="ann")
            await asyncio.sleep(4)
        await job.prove(wait=150, release="tests.faults.next_release")
        await judge_versions(job)


def start_next(job: MainJob, role: str, name: str) -> None:
    """Start a worker of the next release."""
    with (job.directory / f"{name}.log").open("ab") as log:
        job.workers[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.next_release", "worker", role],
            cwd=ROOT,
            env=job.environment,
            stdout=log,
            stderr=log,
        )


def waiting(job: MainJob, name: str) -> bool:
    """Tell whether a partition of a worker waits for a newer release."""
    return "the journal has activated logic 2 and this release knows up to 1" in job.log(name)


async def judge_versions(job: MainJob) -> None:
    """States of version 2 and outputs of logic 2 begin at its activation; outputs of logic 2 end at the way back."""
    consumer = kafka.consumer(job.settings.kafka)
    await consumer.start()
    try:
        began, ended = {}, {}
        for number in range(PARTITIONS):
            switches = [
                record
                for record in await whole(consumer, topics.JOURNAL, number)
                if dict(record.headers)[names.KIND] == b"activation"
                and EMBEDDED.decode(record.value, "Control")["body"]["kind"] == "LOGIC"
            ]
            assert len(switches) == 2
            began[number], ended[number] = (record.offset for record in switches)
        newer = 0
        for number in range(PARTITIONS):
            for record in await whole(consumer, topics.FOLD_CHANGELOG, number):
                if record.value and not record.key.startswith((PARTITION_KEY, *changelog.OWN)):
                    is_newer = record.value[0] == VERSION + 1
                    newer += is_newer
                    assert not is_newer or changelog.fence_of(record) > began[number]
        assert newer > 50
        marked = 0
        for number in range(PARTITIONS):
            for record in await whole(consumer, topics.NEXT_BEST_ACTIONS, number):
                at = names.Position.parse(names.first(record.headers, names.POSITION) or b"")
                is_marked = RELEASE in record.headers
                marked += is_marked
                assert is_marked == (began[at.partition] < at.offset < ended[at.partition])
        assert marked > 20
    finally:
        await consumer.stop()
