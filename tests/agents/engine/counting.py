"""A small job over a memory log, and the sequential fold that judges it."""

import json
import random
from typing import Any

from agents.engine.job import Job
from agents.engine.memory import MemoryLog
from agents.engine.records import Entry, Output, Record
from agents.engine.restore import Owned, restore
from agents.engine.table import StateTable

SOURCE, OUT, DLQ, CHANGELOG = "source", "out", "source.dlq", "source-changelog"
POSITION = "position"


class JsonCodec:
    """States as sorted JSON, so that equal states are equal bytes."""

    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value, sort_keys=True).encode()

    def decode(self, encoded: bytes, /) -> Any:
        return json.loads(encoded)


class Raced(MemoryLog):
    """Somebody else appends `late` just before the next append to the changelog."""

    late: list[Any] | None = None

    async def append(self, topic: str, partition: int, entries: Any) -> int:
        if self.late is not None and topic == CHANGELOG:
            late, self.late = self.late, None
            self.append_now(CHANGELOG, 0, late)
        return await super().append(topic, partition, entries)


class Watched(MemoryLog):
    """Remembers whether more of the source was read than one record, by which a restore knows it again."""

    read_source = False

    async def holds(self, topic: str, partition: int, start: int, end: int) -> None:
        self.read_source |= topic == SOURCE and end - start > 1
        await super().holds(topic, partition, start, end)


def count(table: StateTable, record: Record) -> list[Output]:
    """Count and sum by key, in place; report every third event; refuse what is not a number."""
    assert record.key is not None
    state = table.get(record.key) or {"count": 0, "sum": 0}
    state["count"] += 1  # changed before the value is known to be good: a rollback must undo it
    if record.value == b"delete":
        table.delete(record.key)
        return []
    state["sum"] += int(record.value or b"")
    table.set(record.key, state)
    if state["count"] % 3 == 0:
        return [Output(OUT, record.key, JsonCodec().encode(state), [])]
    return []


def dead_letter(record: Record, error: BaseException) -> Output:
    return Output(DLQ, record.key, record.value, [("error", str(error).encode())])


def job(**changes: Any) -> Job:
    settings: dict[str, Any] = {
        "name": "counting",
        "source": SOURCE,
        "step": count,
        "outputs": (OUT, DLQ),
        "dead_letter": dead_letter,
        "codec": JsonCodec(),
        "changelog": CHANGELOG,
        "position_header": POSITION,
        "watermark_seconds": 0.05,
        "drain_seconds": 0.5,
        "retry_seconds": 0.01,
        "confirm_seconds": 0.05,
    }
    return Job(**{**settings, **changes})


def memory_log(partitions: int = 1) -> MemoryLog:
    return MemoryLog({SOURCE: partitions, OUT: 2, DLQ: 1, CHANGELOG: partitions})


def counts(partitions: int = 1) -> dict[str, int]:
    return {SOURCE: partitions, OUT: 2, DLQ: 1, CHANGELOG: partitions}


def fill(log: MemoryLog, n: int, seed: int, *, partition: int = 0, keys: int = 7) -> None:
    """Append n events, a few of them poison or deletions."""
    rng = random.Random(seed)
    for _ in range(n):
        value = rng.choice([b"poison", b"delete"]) if rng.random() < 0.05 else b"%d" % rng.randrange(100)
        log.append_now(SOURCE, partition, [Entry(b"key-%d" % rng.randrange(keys), value, [])])


def sequential(log: MemoryLog, the_job: Job, partition: int = 0) -> tuple[dict[bytes, bytes], dict[bytes, tuple]]:
    """Fold one record at a time, without any engine: states, and outputs by position."""
    table = StateTable(JsonCodec().encode, JsonCodec().decode)
    states: dict[bytes, bytes] = {}
    outputs: dict[bytes, tuple] = {}
    for record in log.records(SOURCE, partition):
        fresh = StateTable(JsonCodec().encode, JsonCodec().decode)
        fresh.load(states.items())
        try:
            sent = the_job.step(fresh, record)
            changes = fresh.encode()
        except ValueError as error:
            sent, changes = [dead_letter(record, error)], []
        for key, value in changes:
            if value is None:
                states.pop(key, None)
            else:
                states[key] = value
        for index, output in enumerate(sent):
            outputs[b"%d/%d/%d" % (partition, record.offset, index)] = tuple(output[:3])
    del table
    return states, outputs


def emitted(log: MemoryLog) -> dict[bytes, tuple]:
    """Return the outputs in the log by position; fail if one position has two contents."""
    found: dict[bytes, tuple] = {}
    for topic, number in ((OUT, 2), (DLQ, 1)):
        for partition in range(number):
            for record in log.records(topic, partition):
                position = dict(record.headers)[POSITION]
                content = (topic, record.key, record.value)
                assert found.setdefault(position, content) == content, "one output id, two contents"
    return found


async def restored(log: MemoryLog, the_job: Job, committed: int | None = None, **options: Any) -> Owned:
    partitions = await log.partitions(SOURCE)
    return await restore(the_job, log, 0, committed=committed, counts=counts(partitions), **options)
