"""One partition at work: fold, then outputs durable, then changelog durable, then committable.

Up to `Job.in_flight` batches are unacknowledged at once.  Their outputs may overlap; their
changelog batches are appended in order, each after the acknowledgement of the one before, and
only if it lands exactly behind it.  Anything else in between is a foreign append.
"""

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable, Sequence

from agents.engine import changelog
from agents.engine.counters import Counters
from agents.engine.errors import BatchTooLarge, ForeignAppend
from agents.engine.fold import Destination, Fold, Outcome
from agents.engine.job import Job
from agents.engine.log import Log
from agents.engine.records import PlainEntry, Record, size_of
from agents.engine.restore import Owned

logger = logging.getLogger(__name__)

_OUTPUT_BATCH_BYTES = 900_000
_LONG = 100
"""Records after which a fold lets the loop look after its connections before anybody folds again."""

Turns = dict[Destination, tuple[asyncio.Event | None, asyncio.Event]]
"""Of each destination whom to wait for, and what to set when everything is acknowledged."""


class Partition:
    """Processes the records of one partition of the source in order."""

    def __init__(
        self,
        job: Job,
        log: Log,
        number: int,
        owned: Owned,
        *,
        counts: dict[str, int],
        on_trouble: Callable[["Partition", BaseException], None],
        counters: Counters | None = None,
        over_budget: Callable[[], BaseException | None] = lambda: None,
        folding: asyncio.Lock | None = None,
    ) -> None:
        """Take over a restored partition.

        `counts` has the number of partitions of the source and of every output topic.  `on_trouble`
        is called once, from the loop, when the partition cannot go on; it then does nothing more.
        `counters` go on from an earlier ownership. While `over_budget` gives a reason nothing is folded.
        Partitions that share `folding` fold one at a time: heartbeats and acknowledgements wait for one
        batch, not for one of each.
        """
        self.number = number
        self.table = owned.table
        self.durable = owned.position
        """Source offset up to which outputs and changelog are durable."""
        self.committed: int | None = None
        """What the group has been told last, if it has been told since this partition was restored."""
        self.folded = owned.position
        self.last = owned.last
        """Fingerprint of the record at `folded`."""
        self.changelog_next = owned.changelog_next
        self.blocked: BaseException | None = None
        """Why the next record cannot be folded yet (a document that is missing, say)."""
        self.counters = counters or Counters()
        self._job = job
        self._log = log
        self.owner = owned.owner
        self._source_count = counts[job.source]
        self._fold = Fold(job, owned.table, counts)
        self._on_trouble = on_trouble
        self._over_budget = over_budget
        self._folding = folding or asyncio.Lock()
        self._queue: collections.deque[Sequence[Record]] = collections.deque()
        self.queued = 0
        """Records that wait to be folded."""
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(job.in_flight)
        self._tail: asyncio.Task[None] | None = None
        self._publishing: set[asyncio.Task[None]] = set()
        self._turns: dict[Destination, asyncio.Event] = {}
        """Of each destination what is set when everything that was sent there so far is acknowledged."""
        self._limit = job.max_batch_records
        self._marks = job.marks if job.marks is not None and number < counts[job.marks] else None
        self._marked, self._mark_due = changelog.NOTHING_FOLDED, 0.0
        """What the last mark says was folded last, and when the next one may be written, by the loop's clock."""
        self._closing = self._closed = False
        self._trouble: BaseException | None = None
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to process."""
        self._runner = asyncio.create_task(self._run(), name=f"{self._job.name}-{self.number}")

    def submit(self, records: Sequence[Record]) -> None:
        """Queue a run of records; records that are folded already are passed over."""
        if self._closing or self._trouble is not None:
            return
        self._queue.append(records)
        self.queued += len(records)
        self._wake.set()

    async def drain(self) -> bool:
        """Stop folding and wait for what is in flight; return whether all of it became durable."""
        self._closing = True
        self._wake.set()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        if self._tail is not None and self._trouble is None:
            await asyncio.wait([self._tail], timeout=self._job.drain_seconds)
        return self._trouble is None and self.durable == self.folded

    def given_up(self) -> Owned:
        """Return what a later restore may begin with, once everything is drained."""
        return Owned(self.table, self.durable, self.changelog_next, self.owner, self.last)

    async def close(self) -> None:
        """Stop at once, whatever is in flight; nothing of this partition goes on afterwards."""
        self._closing = self._closed = True
        tasks = [task for task in (self._runner, *self._publishing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self) -> None:
        try:
            while not self._closing:
                records = await self._next()
                too_much = self._over_budget() if records else None
                if too_much is not None:
                    self._requeue(records)
                    await self._wait_blocked(too_much)
                    continue
                if records and self._job.prepare is not None and not await self._prepared(records):
                    continue
                await self._slots.acquire()
                async with self._folding:
                    outcome = self._fold_within_limits(records) if records else Outcome(position=self.folded)
                    self._requeue(records[outcome.consumed :])
                    if outcome.consumed or not records:  # before any wait: who ends this task must find what was folded
                        self._advance(outcome, records)
                    else:
                        self._slots.release()
                    if outcome.consumed >= _LONG:
                        await asyncio.sleep(0)
                if outcome.blocked is not None:
                    await self._wait_blocked(outcome.blocked)
                elif records:
                    self.blocked = None
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - every failure of the engine goes to the worker
            self._fail(error)

    async def _next(self) -> list[Record]:
        """Return the next records to fold, or nothing when only a watermark is due."""
        while not self._queue:
            self._wake.clear()
            if self._trouble is not None:
                raise asyncio.CancelledError
            try:
                async with asyncio.timeout(self._job.watermark_seconds if self._job.stateful or self._marks else None):
                    await self._wake.wait()
            except TimeoutError:
                if self._job.stateful or self.last != self._marked:
                    return []
        taken: list[Record] = []
        limit, last = self._limit, self.folded
        while self._queue and len(taken) < limit:
            run = self._queue.popleft()
            room = limit - len(taken)
            if len(run) > room:
                self._queue.appendleft(run[room:])
                run = run[:room]
            self.queued -= len(run)
            if run[0].offset <= last:  # after a rewind runs overlap
                run = [record for record in run if record.offset > last]
            if run:
                last = run[-1].offset
                taken += run
        return taken or await self._next()

    async def _prepared(self, records: list[Record]) -> bool:
        """Let the job fetch what its step will look up; on failure wait and put the records back."""
        assert self._job.prepare is not None
        try:
            await self._job.prepare(records)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a service that is away delays records, it loses none
            self._requeue(records)
            await self._wait_blocked(error)
            return False
        return True

    def _requeue(self, records: Sequence[Record]) -> None:
        if records:
            self._queue.appendleft(records)
            self.queued += len(records)

    def _fold_within_limits(self, records: list[Record]) -> Outcome:
        """Fold as many of the records as fit into one changelog batch."""
        budget = self._job.max_batch_bytes
        while True:
            outcome = self._fold(records)
            size = outcome.changes_bytes
            if size <= budget:
                if size < budget // 4:
                    self._limit = min(self._limit * 2, self._job.max_batch_records)
                return outcome
            if len(records) == 1:
                raise BatchTooLarge(
                    f"one record ({self._job.source}/{self.number}/{records[0].offset}) changes {size} bytes of "
                    f"state, more than max_batch_bytes {budget}: raise it together with the changelog's "
                    f"max.message.bytes"
                )
            self._fold.undo()
            records = records[: max(1, len(records) // 2)]
            self._limit = max(1, len(records))

    def _advance(self, outcome: Outcome, records: Sequence[Record]) -> None:
        self.folded = outcome.position
        if outcome.consumed:
            self.last = changelog.fingerprint(records[outcome.consumed - 1])
        counters = self.counters
        counters.records += outcome.consumed
        counters.outputs += outcome.outputs
        counters.dead_letters += outcome.dead_letters
        counters.batches += 1
        task = self._tail = asyncio.create_task(
            self._publish(outcome, self.last, self._tail, self._take_turns(outcome))
        )
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    def _take_turns(self, outcome: Outcome) -> Turns:
        """Queue up behind what is under way to the same destinations, in the order of the batches."""
        turns: Turns = {}
        for destination in outcome.sends:
            mine = asyncio.Event()
            turns[destination] = (self._turns.get(destination), mine)
            self._turns[destination] = mine
        return turns

    async def _publish(self, outcome: Outcome, last: bytes, previous: asyncio.Task[None] | None, turns: Turns) -> None:
        """Make one batch durable: outputs, then (after the batch before) the changelog."""
        try:
            if outcome.sends:
                await send_all(self._log, outcome.sends, turns)
            if previous is not None:
                await previous
            if self._trouble is not None:
                return
            if self._job.changelog is not None:
                await self._write_changelog(self._job.changelog, outcome, last)
            elif self._marks is not None:
                await self._write_mark(self._marks, outcome.position, last)
            self.durable = outcome.position
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - every failure of the engine goes to the worker
            self._fail(error)
        finally:
            self._slots.release()

    async def _write_changelog(self, topic: str, outcome: Outcome, last: bytes) -> None:
        entries = changelog.batch(
            outcome.changes, outcome.position, self._source_count, self.owner, self.changelog_next, last
        )
        base = await self._log.append(topic, self.number, entries)
        if base != self.changelog_next:
            raise ForeignAppend(
                f"{topic}/{self.number}: appended at {base}, expected {self.changelog_next}; another process "
                f"writes to this changelog"
            )
        self.changelog_next = base + len(entries)

    async def _write_mark(self, topic: str, position: int, last: bytes) -> None:
        """Say where a job without state is, unless it has said so or has said something a moment ago."""
        now = asyncio.get_running_loop().time()
        if last == self._marked or now < self._mark_due:
            return
        await self._log.append(topic, self.number, changelog.mark(position, self._source_count, last))
        self._marked, self._mark_due = last, now + self._job.watermark_seconds

    async def _wait_blocked(self, reason: BaseException) -> None:
        if self.blocked is None:
            logger.warning("%s/%d waits: %s", self._job.source, self.number, reason)
        self.blocked = reason
        await asyncio.sleep(self._job.retry_seconds)

    def _fail(self, error: BaseException) -> None:
        if self._trouble is None and not self._closed:
            self._trouble = error
            self._wake.set()
            self._on_trouble(self, error)


def _batches(entries: list[PlainEntry]) -> list[list[PlainEntry]]:
    """Cut entries into runs that fit into one record batch each."""
    if size_of(entries) <= _OUTPUT_BATCH_BYTES:
        return [entries]
    runs: list[list[PlainEntry]] = [[]]
    size = 0
    for entry in entries:
        needed = size_of((entry,))
        if size + needed > _OUTPUT_BATCH_BYTES and runs[-1]:
            runs.append([])
            size = 0
        runs[-1].append(entry)
        size += needed
    return runs


async def _send_in_order(
    log: Log, topic: str, partition: int, entries: list[PlainEntry], turn: tuple[asyncio.Event | None, asyncio.Event]
) -> None:
    before, mine = turn
    if before is not None:
        await before.wait()
    for run in _batches(entries):
        await log.append(topic, partition, run)
    mine.set()


async def send_all(log: Log, sends: dict[Destination, list[PlainEntry]], turns: Turns) -> None:
    """Append to all destinations, side by side; return when every append is acknowledged.

    What goes to one destination waits for its turn there: two batches may be in flight, and outputs of the second
    must not overtake those of the first.  If an append fails, its turn never ends: nothing is sent there any more.
    Raises the first error, after the other appends have ended.
    """
    pending: list[Awaitable[None]] = [
        _send_in_order(log, *destination, entries, turns[destination]) for destination, entries in sends.items()
    ]
    if len(pending) == 1:
        await pending[0]
        return
    results = await asyncio.gather(*pending, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
