"""A process that folds partitions of the journal again, one after the other, as its parent hands them out.

It ends when its parent does, whatever ends that: a thread waits at the pipe.
"""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import TopicPartition

from agents import topology
from agents.cli import connect, folding
from agents.clients import kafka
from agents.engine.errors import EngineError
from agents.engine.job import Job, by_crc32
from agents.engine.kafka import KafkaLog
from agents.engine.records import PlainEntry, size_of
from agents.errors import AttuneError, UsageError
from agents.history import container, lines
from agents.history.part import Checkpoint, Part
from agents.history.plan import Range
from agents.history.refold import Emitted, Refold, as_they_stand
from agents.history.selection import Chooser, Selection, What
from agents.journal.documents import Documents
from agents.logs import configure
from agents.settings import Settings
from schemas import topics

_BATCH_BYTES: Final = 900_000
_PROGRESS_SECONDS: Final = 0.1


class Assignment(NamedTuple):
    """What all workers of one replay are told."""

    settings: Settings
    selection: Selection
    folder: Path
    """Where parts and checkpoints are kept."""
    topic: str | None
    """Where everything is produced, or None: it goes into parts."""
    topic_partitions: int
    marker: bytes | None
    """Sync marker of an Avro container, or None: parts are JSON lines."""
    run_records: int


class Progress(NamedTuple):
    """So many records of a partition have been gone through in this process."""

    partition: int
    read: int


class Done(NamedTuple):
    """A partition is done; `read` records were gone through in this process, in `cpu_seconds` of it."""

    partition: int
    checkpoint: Checkpoint
    read: int
    cpu_seconds: float


class Failed(NamedTuple):
    """A worker cannot go on, and what its user reads."""

    message: str
    hint: str
    is_usage: bool


def work(pipe: Connection, assignment: Assignment) -> None:
    """Fold what comes through the pipe until None comes; what becomes of it goes back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process
    configure(assignment.settings.log_level)
    gc.disable()  # `_sweep` does its work
    try:
        with connect.explained(assignment.settings):
            asyncio.run(_work(pipe, assignment))
    except AttuneError as error:
        pipe.send(Failed(error.message, error.hint, isinstance(error, UsageError)))


async def _work(pipe: Connection, assignment: Assignment) -> None:
    tasks: asyncio.Queue[Range | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_listen, args=(pipe, loop, tasks), daemon=True).start()
    documents = Documents()
    if assignment.selection.folds:
        await folding.read_documents(assignment.settings, documents)
    job = topology.fold_job(documents)  # one for all partitions: it keeps policies made ready, and no state
    async with folding.reader(assignment.settings) as consumer:
        while (task := await tasks.get()) is not None:
            pipe.send(await _replay(pipe, assignment, job, consumer, task))


def _listen(pipe: Connection, loop: asyncio.AbstractEventLoop, tasks: "asyncio.Queue[Range | None]") -> None:
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):  # the parent is gone: whatever stands beyond the checkpoint is cut off later
            os._exit(1)
        loop.call_soon_threadsafe(tasks.put_nowait, task)
        if task is None:
            return


async def _replay(pipe: Connection, assignment: Assignment, job: Job, consumer: Any, task: Range) -> Done:
    part = Part(assignment.folder, task.partition)
    sink: _Sink = _InPart(assignment.marker) if assignment.topic is None else _InTopic(assignment)
    resumed, began = part.checkpoint, time.process_time()
    start = 0 if assignment.selection.folds else max(task.begin, resumed.next)
    read, told = 0, 0.0
    try:
        async for position, emitted, refused, met in _emitted(assignment, job, consumer, task, resumed):
            content = await sink.take(emitted)
            _sweep()
            if position > resumed.next:
                part.add(content, next_offset=position, given=len(emitted), refused=refused, met=met)
            read = position - start
            if (now := time.monotonic()) - told >= _PROGRESS_SECONDS:
                told = now
                pipe.send(Progress(task.partition, read))
        part.mark(done=True)
    finally:
        part.close()
        await sink.close()
    return Done(task.partition, part.checkpoint, read, time.process_time() - began)


async def _emitted(
    assignment: Assignment, job: Job, consumer: Any, task: Range, resumed: Checkpoint
) -> AsyncIterator[tuple[int, Sequence[Emitted], int, list[str]]]:
    """Yield (next offset, what is given out, refused so far, customers met so far), from where the checkpoint ended."""
    selection, tp = assignment.selection, TopicPartition(topics.JOURNAL, task.partition)
    begin = max(task.begin, resumed.next)
    chooser = Chooser(selection, begin, task.end)
    if not selection.folds:
        async for position, emitted in as_they_stand(consumer, tp, begin, task.end, chooser):
            yield position, emitted, 0, []
        return
    refold = Refold(
        tp,
        job.step,
        lambda step: folding.folding(job, step)[0],
        chooser,
        interactions=What.INTERACTIONS in selection.what,
        run_records=assignment.run_records,
        customers=frozenset(key.encode() for key in selection.customers or ()),
    )
    async for position, emitted in refold(consumer, task.end):
        yield position, emitted, refold.refused, sorted(key.decode() for key in refold.met)


def _sweep() -> None:
    """Collect what is young, then look at nothing of it again: states stay, and they are no garbage.

    The collector by itself goes through all states again and again. On a quiet machine this saved a tenth of the time
    with a pack of five actions; with forty the noise of a shared one was larger than what it saved.
    """
    gc.collect(0)
    gc.freeze()


class _Sink(Protocol):
    async def take(self, emitted: Sequence[Emitted]) -> bytes:
        """Take what is given out; return what the part is to hold of it."""

    async def close(self) -> None:
        """Let go of what was opened."""


class _InPart:
    """Everything goes into the part, in the form of the file that it becomes."""

    def __init__(self, marker: bytes | None) -> None:
        self._marker = marker

    async def take(self, emitted: Sequence[Emitted]) -> bytes:
        return lines.lines(emitted) if self._marker is None else container.block(emitted, self._marker)

    async def close(self) -> None:
        """Nothing is open."""


class _InTopic:
    """Everything is acknowledged by the topic before the checkpoint moves; the part stays empty."""

    def __init__(self, assignment: Assignment) -> None:
        assert assignment.topic is not None
        settings = assignment.settings
        self._topic = assignment.topic
        self._count = assignment.topic_partitions
        self._log = KafkaLog(
            producer=lambda: kafka.producer(settings.kafka, max_batch_size=kafka.LARGE_BATCH_BYTES),
            consumer=lambda: kafka.consumer(settings.kafka),
        )

    async def take(self, emitted: Sequence[Emitted]) -> bytes:
        places: dict[int, list[PlainEntry]] = {}
        for item in emitted:
            number = by_crc32(self._topic, item.key, self._count)  # as live: one customer, one partition
            places.setdefault(number, []).append((item.key, item.value, list(item.headers)))
        try:
            await asyncio.gather(*(self._append(number, entries) for number, entries in places.items()))
        except EngineError as error:
            raise AttuneError(
                f"{self._topic} did not take everything: {error}",
                "with --resume the same command goes on where it stopped; some records may then come twice",
            ) from error
        return b""

    async def _append(self, number: int, entries: Sequence[PlainEntry]) -> None:
        for batch in _batches(entries):
            await self._log.append(self._topic, number, batch)

    async def close(self) -> None:
        await self._log.stop()


def _batches(entries: Sequence[PlainEntry]) -> list[list[PlainEntry]]:
    """Cut entries into runs that fit into one record batch each."""
    found: list[list[PlainEntry]] = [[]]
    room = _BATCH_BYTES
    for entry in entries:
        size = size_of((entry,))
        if size > room and found[-1]:
            found.append([])
            room = _BATCH_BYTES
        found[-1].append(entry)
        room -= size
    return found
