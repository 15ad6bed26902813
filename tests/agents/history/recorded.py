"""A main job that has run and ended: its journal, and everything that its fold gave out, repetitions and poison too."""

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from agents.clients import kafka
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings, Settings
from schemas import headers as names
from schemas import topics
from tests.faults.main_job import ROOT, MainJob, job_on

OUTPUTS = (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)

Place = tuple[int, int, int]
"""Partition, offset and index in the journal."""
Sent = tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]
"""Topic, key, value, headers."""


@dataclasses.dataclass
class Recorded:
    """The job, whose workers have ended, and what is in its topics."""

    job: MainJob
    live: Mapping[Place, Sent]
    """What the fold gave out, each position once."""
    repeated: int
    """How many records of live output are repetitions of a position."""
    journal: Sequence[Any]

    @property
    def settings(self) -> Settings:
        """Settings that reach it."""
        return self.job.settings

    def attune(
        self, *arguments: str, module: str = "agents.cli.main", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must have this code."""
        done = self.start(*arguments, module=module)
        out, err = done.communicate(timeout=120)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}: {out[-2000:]}\n{err[-4000:]}"
        return subprocess.CompletedProcess(arguments, code, out, err)

    def start(self, *arguments: str, module: str = "agents.cli.main", **environment: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**self.job.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what a replay prints as JSON lines."""
        return [json.loads(line) for line in self.attune("replay", "--json", *arguments).stdout.splitlines()]

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic that is none of Attune's."""

        async def create() -> None:
            admin = kafka.admin(self.settings.kafka)
            await admin.start()
            try:
                answer = await admin.create_topics([NewTopic(name, partitions, 1)])
                assert all(error[1] == 0 for error in answer.topic_errors), answer
            finally:
                await admin.close()

        asyncio.run(create())

    def read(self, topic: str) -> list[Any]:
        """Return all records of a topic, partition after partition."""
        return asyncio.run(_read(self.settings, topic))


@contextmanager
def recorded(directory: Path, *, interactions: int) -> Iterator[Recorded]:
    """Run a main job over so many interactions or more, its fold killed in the middle; yield it when it has ended."""
    platform = LocalPlatform(directory / "platform")
    platform.start()
    try:
        connection = KafkaSettings(bootstrap=platform.bootstrap, replication_factor=1)
        yield asyncio.run(_record(connection, platform.redis_url, directory, interactions))
    finally:
        platform.stop()


async def _record(connection: KafkaSettings, redis_url: str, directory: Path, interactions: int) -> Recorded:
    async with job_on(connection, redis_url, directory, seed=41) as job:
        job.start_all()
        async with job.publishing(pace=250):
            await job.at_work()
            await _published(job, interactions // 2)
            worker = job.start("fold", "crashing", after_outputs=3)
            job.kill("fold")
            assert await asyncio.to_thread(worker.wait, 60) == 9, job.logs()
            job.start("fold")
            await _published(job, interactions)
        assert await job.leave("coordinator") == 0  # no tick comes any more
        report = await job.prove()
        assert report["unfolded"] == 0, report
        for role in ("router", "fold"):
            assert await job.leave(role) == 0
        live: dict[Place, Sent] = {}
        repeated = 0
        for topic in OUTPUTS:
            for record in await _read(job.settings, topic):
                position = names.Position.parse(names.first(record.headers, names.POSITION) or b"")
                sent = (topic, record.key, record.value, tuple(record.headers))
                repeated += position in live
                assert live.setdefault(tuple(position), sent) == sent, f"{position} came twice, with other content"
        return Recorded(job, live, repeated, await _read(job.settings, topics.JOURNAL))


async def _published(job: MainJob, count: int) -> None:
    async with asyncio.timeout(120):
        while job.published.good < count:
            await asyncio.sleep(0.05)


async def _read(settings: Settings, topic: str) -> list[Any]:
    async with _consumer(settings) as consumer:
        counts = await consumer._client.fetch_all_metadata()
        tps = [TopicPartition(topic, number) for number in sorted(counts.partitions_for_topic(topic))]
        ends = await consumer.end_offsets(tps)
        found = []
        for tp in tps:
            consumer.assign([tp])
            consumer.seek(tp, 0)
            while await consumer.position(tp) < ends[tp]:
                found += (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
        return found


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[Any]:
    consumer = kafka.consumer(settings.kafka)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def in_order(places: Iterable[Place]) -> bool:
    """Return whether positions only grow."""
    ordered = list(places)
    return ordered == sorted(ordered)
