"""What every fault test needs: topics, events, workers as processes, and the oracle that judges them."""

import asyncio
import contextlib
import dataclasses
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from agents.engine import changelog
from tests.agents.engine import counting
from tests.agents.engine.counting import POSITION

ROOT = Path(__file__).parents[2]
CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": "2000000",
}


async def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Return every record of a topic, in offset order within a partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none", enable_auto_commit=False)
    await consumer.start()
    try:
        metadata = await consumer._client.fetch_all_metadata()
        tps = [TopicPartition(topic, p) for p in sorted(metadata.partitions_for_topic(topic) or ())]
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, begins[tp])
        records: list[Any] = []
        for tp in tps:
            while await consumer.position(tp) < ends[tp]:
                fetched = await consumer.getmany(tp, timeout_ms=500)
                records += fetched.get(tp, [])
        return [record for record in records if record.offset < ends[TopicPartition(topic, record.partition)]]
    finally:
        await consumer.stop()


@dataclasses.dataclass
class Case:
    """One run of the counting job: its topics, its events, its workers."""

    bootstrap: str
    seed: int
    partitions: int = 4
    prefix: str = dataclasses.field(default_factory=lambda: f"case-{uuid.uuid4().hex[:8]}")
    workers: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)
    logs: list[Path] = dataclasses.field(default_factory=list)
    directory: Path = Path("/tmp")

    @property
    def group(self) -> str:
        return f"{self.prefix}-group"

    @property
    def source(self) -> str:
        return f"{self.prefix}.source"

    async def create_topics(self) -> None:
        async with self.admin() as admin:
            answer = await admin.create_topics(
                [
                    NewTopic(self.source, self.partitions, 1),
                    NewTopic(f"{self.prefix}.out", 2, 1),
                    NewTopic(f"{self.prefix}.dlq", 1, 1),
                    NewTopic(f"{self.prefix}.changelog", self.partitions, 1, topic_configs=CHANGELOG_CONFIG),
                ]
            )
            assert all(error[1] == 0 for error in answer.topic_errors), answer

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def make_source_anew(self) -> None:
        async with self.admin() as admin:
            await admin.delete_topics([self.source])
            await asyncio.sleep(1)
            answer = await admin.create_topics([NewTopic(self.source, self.partitions, 1)])
            assert all(error[1] == 0 for error in answer.topic_errors), answer

    async def delete_before(self, offset: int) -> None:
        """Delete what stands before an offset in every partition of the source, as retention does."""
        async with self.admin() as admin:
            await admin.delete_records(
                {TopicPartition(self.source, number): RecordsToDelete(offset) for number in range(self.partitions)}
            )

    async def refused(self, worker: subprocess.Popen[bytes], words: str) -> None:
        """Wait until a worker ends by itself; fail unless it says so in its log."""
        status = await asyncio.to_thread(worker.wait, 60)
        log = self.logs[self.workers.index(worker)].read_text()
        assert status != 0, log
        assert re.search(words, log), log

    async def produce(self, n: int, *, poison: float = 0.002, keys: int = 500, pace: float = 0.0) -> None:
        """Append n events at most `pace` a second (0: no limit)."""
        rng = random.Random(self.seed)
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=10, enable_idempotence=True)
        await producer.start()
        try:
            begun = time.monotonic()
            for i in range(n):
                value = rng.choice([b"poison", b"delete"]) if rng.random() < poison else b"%d" % rng.randrange(100)
                key = b"key-%d" % rng.randrange(keys)
                await producer.send(self.source, key=key, value=value, partition=int(key[4:]) % self.partitions)
                if pace and i % 100 == 0:
                    await asyncio.sleep(max(0.0, begun + i / pace - time.monotonic()))
            await producer.flush()
        finally:
            await producer.stop()

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        path = self.directory / f"{self.prefix}-{len(self.workers)}.log"
        with path.open("wb") as out:
            worker = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.faults.counting_worker",
                    self.bootstrap,
                    self.prefix,
                    self.group,
                    *arguments,
                ],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )
        self.workers.append(worker)
        self.logs.append(path)
        return worker

    def stop_workers(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(15)
            if worker.poll() is None:
                worker.kill()
                worker.wait()

    async def committed(self) -> dict[int, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            offsets = {p: await consumer.committed(TopicPartition(self.source, p)) for p in range(self.partitions)}
            return {p: offset for p, offset in offsets.items() if offset is not None}
        finally:
            await consumer.stop()

    async def until_done(self, seconds: float = 60.0) -> None:
        """Wait until everything that is in the source is committed; fail with the workers' logs."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            tps = [TopicPartition(self.source, p) for p in range(self.partitions)]
            ends = {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items() if end}
        finally:
            await consumer.stop()
        deadline = time.monotonic() + seconds
        while (done := await self.committed()) != ends:
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in self.logs)
                raise AssertionError(f"not done after {seconds} s: {done} of {ends}\n{tails}")
            await asyncio.sleep(0.3)

    async def judge(self) -> dict[str, int]:
        """Compare states, output ids and contents, and commits with a sequential fold; return counts."""
        source = await read_all(self.bootstrap, self.source)
        changes = await read_all(self.bootstrap, f"{self.prefix}.changelog")
        sent = [
            record for topic in ("out", "dlq") for record in await read_all(self.bootstrap, f"{self.prefix}.{topic}")
        ]
        expected_states: dict[bytes, bytes] = {}
        expected_outputs: dict[bytes, tuple[Any, ...]] = {}
        for p in range(self.partitions):
            mirror = counting.memory_log(self.partitions)
            for record in source:
                if record.partition == p:
                    mirror.append_now(counting.SOURCE, p, [counting.Entry(record.key, record.value, [])])
            states, outputs = counting.sequential(mirror, counting.job(), p)
            expected_states |= states
            expected_outputs |= outputs
        found_outputs: dict[bytes, tuple[Any, ...]] = {}
        for record in sent:
            topic = counting.OUT if record.topic.endswith(".out") else counting.DLQ
            content = (topic, record.key, record.value)
            position = dict(record.headers)[POSITION]
            assert found_outputs.setdefault(position, content) == content, f"one output id, two contents: {position!r}"
        table: dict[bytes, bytes | None] = {}
        positions: dict[int, int] = {}
        for p in range(self.partitions):
            scan = changelog.Restored()
            table |= dict(scan.scan([record for record in changes if record.partition == p]))
            positions[p] = scan.position
        found_states = {key: value for key, value in table.items() if value is not None}
        assert found_states == expected_states
        assert found_outputs == expected_outputs
        for p, offset in (await self.committed()).items():
            assert offset <= positions[p] + 1, f"partition {p}: committed {offset} beyond durable {positions[p]}"
        return {
            "events": len(source),
            "states": len(found_states),
            "outputs": len(found_outputs),
            "repeated_outputs": len(sent) - len(found_outputs),
        }


@contextlib.asynccontextmanager
async def case(bootstrap: str, seed: int, directory: Path, **options: Any) -> AsyncIterator[Case]:
    """Yield a case with its topics; its workers end with it."""
    running = Case(bootstrap, seed, directory=directory, **options)
    await running.create_topics()
    try:
        yield running
    finally:
        running.stop_workers()
