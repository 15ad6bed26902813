"""The job of the simulation, and the sequential fold that says what must come of it."""

import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

from agents.engine.job import Job
from agents.engine.memory import MemoryRecord
from agents.engine.records import Entry, Output, PlainEntry, Record
from agents.engine.table import StateTable

SOURCE, OUT, DLQ, CHANGELOG = "source", "out", "dlq", "changelog"
POSITION = "position"
POLICY = b"\0policy"
OUTPUTS = {OUT: 2, DLQ: 1}

Content = tuple[str, bytes | None, bytes | None]


class JsonCodec:
    """States as sorted JSON, so that equal states are equal bytes."""

    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value, sort_keys=True).encode()

    def decode(self, encoded: bytes, /) -> Any:
        return json.loads(encoded)


CODEC = JsonCodec()


def step(table: StateTable, record: Record) -> list[Output]:
    """Sum by key, weighted by a policy that comes in the log; report every third event; poison raises half-way."""
    assert record.key is not None
    if record.key == POLICY:
        table.set(POLICY, {"factor": int(record.value or b"")})
        return []
    state = table.get(record.key) or {"count": 0, "sum": 0}
    state["count"] += 1  # changed before the value is known to be good: a rollback must undo it
    if record.value == b"delete":
        table.delete(record.key)
        return []
    state["sum"] += int(record.value or b"") * factor_of(table)
    table.set(record.key, state)
    return [Output(OUT, record.key, CODEC.encode(state), [])] if state["count"] % 3 == 0 else []


def factor_of(table: StateTable) -> int:
    """Return the weight that is active."""
    policy = table.get(POLICY)
    return 1 if policy is None else int(policy["factor"])


def dead_letter(record: Record, error: BaseException) -> Output:
    """Keep the record with its reason."""
    return Output(DLQ, record.key, record.value, [("error", type(error).__name__.encode())])


def job(**changes: Any) -> Job:
    """Return the job; small batches and short times, so that much happens in a run."""
    settings: dict[str, Any] = {
        "name": "summing",
        "source": SOURCE,
        "step": step,
        "outputs": tuple(OUTPUTS),
        "dead_letter": dead_letter,
        "codec": CODEC,
        "changelog": CHANGELOG,
        "position_header": POSITION,
        "max_batch_records": 8,
        "retain_seconds": 60.0,
        "compaction_lag_ms": 120_000,
    }
    return Job(**{**settings, **changes})


def source(rng: random.Random, events: int, keys: int) -> list[Entry]:
    """Return what comes into one partition: numbers, now and then poison, a deletion or a new policy."""
    entries = []
    for _ in range(events):
        kind = rng.random()
        if kind < 0.05:
            entries.append(Entry(POLICY, b"%d" % rng.randrange(1, 9), []))
            continue
        value = b"poison" if kind < 0.08 else b"delete" if kind < 0.13 else b"%d" % rng.randrange(100)
        entries.append(Entry(b"key-%d" % rng.randrange(keys), value, []))
    return entries


class Expected:
    """States and outputs of a partition by a fold of one record at a time that never fails."""

    def __init__(self, partition: int, entries: Sequence[Entry]) -> None:
        table = StateTable(CODEC.encode, CODEC.decode)
        self.outputs: list[tuple[int, bytes, Content]] = []
        """Source offset, position, and content."""
        for offset, (key, value, headers) in enumerate(entries):
            record = MemoryRecord(SOURCE, partition, offset, 0, key, value, headers)
            sent: Sequence[Output]
            try:
                sent = step(table, record)
                table.commit(table.encode())
            except ValueError as error:
                sent = [dead_letter(record, error)]
            table.rollback()
            for index, output in enumerate(sent):
                self.outputs.append(
                    (offset, b"%d/%d/%d" % (partition, offset, index), (output[0], output[1], output[2]))
                )
        self.states: dict[bytes, bytes] = {key: value for key in table if (value := table.at_rest(key)) is not None}


def position_of(entry: PlainEntry) -> tuple[bytes, tuple[int, int, int]]:
    """Return the position of an output, as bytes and in numbers."""
    (position,) = [value for name, value in entry[2] if name == POSITION]
    partition, offset, index = map(int, position.split(b"/"))
    return position, (partition, offset, index)


def differences(expected: dict[bytes, bytes], found: Iterable[tuple[bytes, bytes]]) -> str:
    """Return how states differ, empty where they do not."""
    got = dict(found)
    wrong = [key for key in sorted(expected.keys() | got.keys()) if expected.get(key) != got.get(key)]
    return "; ".join(f"{key!r} is {got.get(key)!r}, expected {expected.get(key)!r}" for key in wrong)
