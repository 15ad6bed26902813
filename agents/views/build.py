"""One whole partition, read from its first record and written to the views: at the first start, and for a rebuild."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from agents.view import COPYING, Document, Mark, Write
from agents.views.documents import Derive, Message, document_of, partition_of
from agents.views.runs import OutputRun, StateRun

Apply = Callable[[Sequence[Write]], Awaitable[list[int]]]
Publish = Callable[[str, str, Message], Awaitable[None]]
"""Takes customer, position and record of a state that is not older than what the views had."""
Progress = Callable[[int], None]
"""Told how many more records were read."""

_CHUNK: Final = 2_000


async def read(consumer: Any, tp: TopicPartition, run: StateRun, progress: Progress | None = None) -> None:
    """Take a whole partition into a run; `consumer` is started, without group and assignment.

    The run then has of each customer one state, the newest by fence, however often and late it was appended.
    """
    end = await _begin(consumer, tp)
    while await consumer.position(tp) < end:
        records = [record for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []) if record.offset < end]
        run.take(records)
        if progress is not None:
            progress(len(records))
    run.next = end


async def write_states(
    run: StateRun, partition: int, model: Document | None, derive: Derive, apply: Apply, publish: Publish
) -> None:
    """Write every state of a run, scored by one model; errors as `Derive.state` and those of what it is given."""
    own = None if run.own is None else partition_of(run.own[1])
    states = list(run.shown(partition, own).items())
    for start in range(0, len(states), _CHUNK):
        chunk = [
            derive.state(partition, key, fence, value, model) for key, (fence, value) in states[start : start + _CHUNK]
        ]
        results = await apply([derived.write for derived in chunk])
        for derived, result in zip(chunk, results, strict=True):
            if result >= 0:
                await publish(derived.write.customer, derived.write.position, derived.message)


def mark_of(run: StateRun, *, scored: bool) -> Mark:
    """Return the mark of a whole partition that was taken into a run and written, scored if its states are."""
    if run.own is None:
        return Mark(run.next, run.ended, run.appended_ms, split_to=0)
    own = partition_of(run.own[1])
    model = document_of(own.model)
    sha256 = COPYING if own.copying else None if model is None or not scored else model.sha256
    policy = document_of(own.policy)
    return Mark(run.next, run.ended, run.appended_ms, 0, own.clock_ms, policy, model, sha256, own.split_to)


async def write_outputs(consumer: Any, tp: TopicPartition, apply: Apply, progress: Progress | None = None) -> Mark:
    """Read a whole partition of decisions or suppressions and write it as it comes; return its mark."""
    end = await _begin(consumer, tp)
    appended_ms = 0
    while await consumer.position(tp) < end:
        records = [record for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []) if record.offset < end]
        run = OutputRun()
        run.take(records)
        await apply(run.writes(tp.topic))
        appended_ms = run.appended_ms or appended_ms
        if progress is not None:
            progress(len(records))
    return Mark(end, appended_ms=appended_ms)


async def _begin(consumer: Any, tp: TopicPartition) -> int:
    """Stand at the first record of a partition; return where it ends now."""
    end = int((await consumer.end_offsets([tp]))[tp])
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    return end
