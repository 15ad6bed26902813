"""The Redis of the views is away while interactions flow; for as long as --soak-seconds says, five minutes at most."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from agents.clients import kafka
from agents.platform import process
from agents.platform.valkey import ValkeyServer
from agents.settings import variable
from agents.topology import FOLD_GROUP
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.faults.main_job import MainJob, main_job

pytestmark = [pytest.mark.kafka, pytest.mark.soak]

LONGEST_SECONDS = 300.0
PACE = 300.0


async def test_redis_of_the_views_away(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding goes on beside it, not a record later; afterwards the views catch up and are what the log says.

    The keys of sealed data are in another Redis, so nobody waits for the one that is away but the view agent.
    """
    seconds = min(LONGEST_SECONDS, float(pytestconfig.getoption("--soak-seconds")))
    port = process.free_port()
    server = ValkeyServer(tmp_path / "views").start(port, attached=True)
    monkeypatch.setenv(variable("views.redis_url"), f"redis://127.0.0.1:{port}/0")
    try:
        async with main_job(tmp_path, seed=9) as job:
            job.start_all()
            job.start("views")
            async with job.publishing(pace=PACE):
                await job.at_work()
                await asyncio.sleep(3)
                os.kill(server, signal.SIGSTOP)
                try:
                    appended, folded = await _work_done(job, seconds)
                finally:
                    os.kill(server, signal.SIGCONT)
                thawed = time.monotonic()
            print(f"away for {seconds:.0f} s: {appended} records appended to the journal and {folded} folded meanwhile")
            # On a quiet machine it is all of them; whoever waits for Redis gets no further than a second's worth.
            assert folded > appended / 10 > 0, f"the fold waited\n{job.logs()}"
            await job.prove()
            checked = await job.attune("views", "check", "--wait", "120", "--json")
            print(f"whole again after {time.monotonic() - thawed:.1f} s: {checked['customers']} customers")
            assert checked["customers"] > 200
            assert not checked["differences"], f"{checked}\n{job.logs()}"
    finally:
        process.stop(server, kill=True)


async def _work_done(job: MainJob, seconds: float) -> tuple[int, int]:
    """Return how many records were appended to the journal in so many seconds, and how many the fold has committed."""
    tps = [TopicPartition(topics.JOURNAL, number) for number in range(CATALOGUE.topics[topics.JOURNAL].partitions)]
    admin, consumer = kafka.admin(job.settings.kafka), kafka.consumer(job.settings.kafka)
    await admin.start()
    await consumer.start()

    async def counts() -> tuple[int, int]:
        committed = await admin.list_consumer_group_offsets(FOLD_GROUP)
        ends = await consumer.end_offsets(tps)
        return sum(ends.values()), sum(committed[tp].offset for tp in tps if tp in committed)

    try:
        before = await counts()
        await asyncio.sleep(seconds)
        after = await counts()
        return after[0] - before[0], after[1] - before[1]
    finally:
        await consumer.stop()
        await admin.close()
