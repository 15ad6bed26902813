"""The journal is split from 6 to 12 partitions while interactions flow, and everybody dies on the way."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from agents.clients import kafka
from agents.journal.documents import Documents
from schemas import headers as names
from schemas import topics
from schemas.codec import EMBEDDED
from schemas.identity import journal_partition
from streams import growth
from streams.errors import BadEvent
from streams.partition import PARTITION_KEY
from streams.step import SPLIT, Core
from tests.faults.main_job import CUSTOMERS, ROOT, MainJob, main_job
from tests.streams.journal import Table

pytestmark = pytest.mark.kafka

BEFORE, AFTER = 6, 12


async def test_split_under_load(tmp_path: Path) -> None:
    """The tool dies while it copies, cuts and ends the copies, a fold dies too; nothing is lost, doubled or changed.

    The oracle holds before, during and after. The outputs up to the cut are those of the old partitions by the pure
    core, as if nothing had happened, and so are the states with which the new partitions begin.
    """
    async with main_job(tmp_path, seed=21) as job:
        job.start_all()
        job.start("views")
        async with job.publishing(pace=500):
            await job.at_work()
            await asyncio.sleep(4)
        await job.prove()
        before = await somebody_who_moves(job)
        async with job.publishing(pace=300):
            assert await split(job, "copy", 4) == 9, job.logs()
            status = await job.attune("journal", "status", "--json")
            assert (status["partitions"], status["existing"], status["copying_to"]) == (BEFORE, AFTER, AFTER)
            report = await job.attune("prove", "--wait", "60", "--json")
            assert report["held"], report
            assert await split(job, "copy", -3) == 9, job.logs()
            job.kill("fold")
            job.start("fold")
            cutting = asyncio.ensure_future(split(job, "cut", 3))
            await until_said(job, "now stop the routers")
            for role in ("router", "coordinator"):
                assert await job.leave(role) == 0
            assert await cutting == 9, job.logs()
            refused = job.start("router")
            assert await asyncio.to_thread(refused.wait, 60) == 1
            assert "the journal is closed" in job.logs()
            assert await split(job, "finish", 3) == 9, job.logs()
            report = await job.attune("prove", "--json")
            assert set(report["counts"]) <= {"not_routed"}, report  # no router runs
            assert await split(job) == 0, job.logs()
            job.start("router")
            job.start("coordinator")
            await asyncio.sleep(4)
        report = await job.prove(wait=150)
        assert report["copied"] > 500
        assert await split(job) == 0, "a split that is done is done"
        views = await job.attune("views", "check", "--wait", "60", "--json")
        assert views["customers"] > 200
        assert not views["differences"], f"{views}\n{job.logs()}"
        await history_as_before(job, before)
        await as_if_never_split(job)


async def somebody_who_moves(job: MainJob) -> dict[str, Any]:
    """Return what `attune as-of` says of a customer whom the split moves to another partition."""
    for number in range(CUSTOMERS):
        found = await job.attune("as-of", f"household:{number}", "--json")
        if journal_partition(found["customer"], AFTER) != found["journal"]["partition"]:
            return found
    raise AssertionError("nobody moves")


async def history_as_before(job: MainJob, before: dict[str, Any]) -> None:
    """What was shown and proven of a moved customer before the split can be shown and proven after it."""
    customer, journal, proof = before["customer"], before["journal"], before["input"]["sha256"]
    old, position = str(journal["partition"]), str(journal["position"])
    again = await job.attune("as-of", customer, "--partition", old, "--offset", position, "--verify", proof, "--json")
    assert again == {**before, "verified": True}
    by_time = await job.attune("as-of", customer, "--at", journal["appended_at"], "--json")
    assert (by_time["state"], by_time["input"]) == (before["state"], before["input"])
    now = await job.attune("as-of", customer, "--json")
    assert now["journal"]["partition"] == journal_partition(customer, AFTER)
    assert now["input"]["records"] >= before["input"]["records"]
    for wrong in (
        ["--offset", position],
        ["--partition", old, "--offset", "100000"],
        ["--partition", "11", "--at", "1d ago"],
    ):
        with pytest.raises(AssertionError, match=r"--partition|has no offset|moved on|was never there"):
            await job.attune("as-of", customer, *wrong, "--json")


async def split(job: MainJob, phase: str | None = None, nth: int = 0) -> int:
    """Run the tool to its end, or to its death in a phase; return its exit code."""
    tool = start(job, phase, nth)
    try:
        return await asyncio.to_thread(tool.wait, 240)
    finally:
        if tool.poll() is None:
            tool.kill()
            tool.wait()


def start(job: MainJob, phase: str | None, nth: int) -> subprocess.Popen[bytes]:
    """Start the tool."""
    module = (
        ["agents.cli.main", "journal", "split"] if phase is None else ["tests.faults.crashing_split", phase, str(nth)]
    )
    with (job.directory / "split.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *module, "--to", str(AFTER), "--by", "ann", "--yes", "--wait", "150"],
            cwd=ROOT,
            env=job.environment,
            stdout=log,
            stderr=log,
        )


async def until_said(job: MainJob, words: str) -> None:
    """Wait until the tool says something."""
    async with asyncio.timeout(120):
        while words not in (job.directory / "split.log").read_text():
            await asyncio.sleep(0.3)


async def as_if_never_split(job: MainJob) -> None:
    """Fold the old partitions up to the cut, and the new ones up to theirs; compare with each other and the topics."""
    documents = Documents()
    consumer = kafka.consumer(job.settings.kafka)
    await consumer.start()
    try:
        await documents.read(consumer)
        journal = [await whole(consumer, topics.JOURNAL, number) for number in range(AFTER)]
        sent: dict[tuple[int, int, int], tuple[Any, ...]] = {}
        for topic in (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS):
            for number in range(BEFORE):
                for record in await whole(consumer, topic, number):
                    at = names.Position.parse(names.first(record.headers, names.POSITION) or b"")
                    sent[at] = (topic, record.key, record.value)
    finally:
        await consumer.stop()
    core = Core(documents)
    old = [fold_to_split(core, records) for records in journal[:BEFORE]]
    given: dict[tuple[int, int, int], tuple[Any, ...]] = {}
    for _, cut, outputs in old:
        given |= outputs
        assert cut > 0
    assert given == {at: one for at, one in sent.items() if at[0] < BEFORE and at[1] < old[at[0]][1]}
    moved = 0
    for number in range(BEFORE, AFTER):
        states, cut, _ = fold_to_split(core, journal[number])
        assert not [at for at in sent if at[0] == number and at[1] <= cut], "outputs of copies went out"
        wanted = {
            key: state
            for key, state in old[number - BEFORE][0].items()
            if journal_partition(key.decode(), AFTER) == number
        }
        assert states == wanted
        moved += len(states)
        assert any(at[0] == number for at in sent), "the new partition decides"
    assert moved > 50


async def whole(consumer: Any, topic: str, number: int) -> list[Any]:
    """Return every record of a partition."""
    tp = TopicPartition(topic, number)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    end = (await consumer.end_offsets([tp]))[tp]
    records: list[Any] = []
    while await consumer.position(tp) < end:
        records += (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
    return records


def fold_to_split(
    core: Core, records: list[Any]
) -> tuple[dict[bytes, Any], int, dict[tuple[int, int, int], tuple[Any, ...]]]:
    """Fold up to the Split of the partition itself; return states of customers, its offset, outputs by position."""
    table = Table()
    outputs: dict[tuple[int, int, int], tuple[Any, ...]] = {}
    for record in records:
        if dict(record.headers)[names.KIND] == SPLIT and not growth.is_copied(record):
            assert EMBEDDED.decode(record.value, "Control")["body"]["split_to"] == AFTER
            break
        before = dict(table.rest)
        try:
            for index, output in enumerate(core(table, record)):
                outputs[record.partition, record.offset, index] = output[:3]
        except BadEvent:
            table.rest = before
    states = {key: table.get(key) for key in table.rest if key != PARTITION_KEY}
    for state in states.values():
        state.offset = 0
    return states, record.offset, outputs
