"""The partitions that this process owns, and what happens when one of them is in trouble."""

import asyncio
import dataclasses
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from agents.engine.counters import Counters, Restores
from agents.engine.errors import ForeignAppend, OffsetGone, OverBudget, Refused, SendAbandoned, Superseded
from agents.engine.job import Job
from agents.engine.log import Log
from agents.engine.partition import Partition
from agents.engine.records import Record
from agents.engine.restore import Owned, restore

logger = logging.getLogger(__name__)

_QUEUE_BATCHES = 2
_CALM_SECONDS = 5.0
_NOTHING = sys.maxsize
"""Barrier that admits no run."""

_HEALED = (ForeignAppend, OffsetGone, SendAbandoned)
"""Troubles after which the logs say what happened: restore and go on."""


class Source(Protocol):
    """What the engine needs of the consumer that feeds it."""

    async def committed(self, partition: int) -> int | None:
        """Return the group's committed offset of a partition of the source."""

    async def check_ownership(self) -> bool:
        """Ask the group's coordinator (not the local memory) whether this member is still in it."""

    async def rewind(self, positions: Mapping[int, int]) -> int:
        """Seek; return the serial number of the last run that was fetched before."""


@dataclasses.dataclass(slots=True)
class _Kept:
    owned: Owned
    until: float


class Engine:
    """Runs one job over the partitions assigned to this process."""

    def __init__(self, job: Job, log: Log, *, rebuild: bool = False) -> None:
        """Take the job and a started log; `rebuild` folds each state again from the whole source, once."""
        self.job = job
        self.log = log
        self.partitions: dict[int, Partition] = {}
        self.counts: dict[str, int] = {}
        self.counters: dict[int, Counters] = {}
        """What was done with each partition that this process owns or owned."""
        self.restores = Restores()
        self.rebalances = 0
        """Assignments by the group, one without partitions counts too."""
        self.recoveries = 0
        """Times that partitions were restored in place, without leaving the group."""
        self._kept: dict[int, _Kept] = {}
        self._rebuild = rebuild
        self._rebuilt: set[int] = set()
        self._barrier = _NOTHING
        self._epoch = 0
        """Counts assignments and revocations: what was begun in an older one ends without effect."""
        self._revoked = False
        self._folding = asyncio.Lock()
        self._source: Source | None = None
        self._on_fatal: Callable[[BaseException], Awaitable[None]] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._troubles: list[BaseException] = []
        self._recovered_at = -_CALM_SECONDS

    def bind(self, source: Source, on_fatal: Callable[[BaseException], Awaitable[None]]) -> None:
        """Connect the consumer that feeds this engine, and what to do when the process must end."""
        self._source = source
        self._on_fatal = on_fatal

    async def assign(self, numbers: Iterable[int]) -> dict[int, int]:
        """Restore the partitions and start them; return the source offset at which to read each.

        Every run is dropped until `admit` is called.  Raises Refused with the remedy, and Superseded if
        partitions were given out anew meanwhile.
        """
        assert self._source is not None
        epoch = self._begin_epoch()
        self._revoked = False
        if self.job.ready is not None:
            await self.job.ready()
        await self._load_counts()
        numbers = sorted(numbers)
        owned: dict[int, Owned] = {}
        with self.restores.one(len(numbers)):
            for number in numbers:
                owned[number] = await restore(
                    self.job,
                    self.log,
                    number,
                    committed=await self._source.committed(number),
                    counts=self.counts,
                    kept=self._take_kept(number),
                    rebuild=self._rebuild and number not in self._rebuilt,
                    progress=self.restores,
                )
                self._rebuilt.add(number)
                self.restores.partitions_done += 1
        if epoch != self._epoch:
            raise Superseded(f"{self.job.name}: partitions were given out anew while {sorted(owned)} were restored")
        await self._close(self.partitions.values())
        for number, state in owned.items():
            partition = Partition(
                self.job,
                self.log,
                number,
                state,
                counts=self.counts,
                on_trouble=self._on_trouble,
                counters=self.counters.setdefault(number, Counters()),
                over_budget=self._over_budget,
                folding=self._folding,
            )
            self.partitions[number] = partition
            partition.start()
        logger.info(
            "%s: restored partitions %s with %d states in %.2f s",
            self.job.name,
            numbers,
            sum(len(state.table) for state in owned.values()),
            self.restores.last_seconds,
        )
        return {number: state.resume for number, state in owned.items()}

    async def take_up(self, numbers: Iterable[int]) -> None:
        """Restore partitions, seek behind their states, and take runs again, those fetched before excepted.

        A restore whose sends are not acknowledged begins again.  Raises as `assign` does.
        """
        assert self._source is not None
        numbers = sorted(numbers)
        while True:
            epoch = self._epoch + 1  # which `assign` begins
            try:
                positions = await self.assign(numbers)
            except _HEALED as error:
                if epoch == self._epoch and not await self._begin_again(error):
                    raise Superseded(f"{self.job.name}: the group has moved on from {numbers}") from error
                if epoch != self._epoch:
                    raise Superseded(f"{self.job.name}: partitions were given out anew") from error
            else:
                break
        try:
            serial = await self._source.rewind(positions)
        except Exception as error:
            if epoch == self._epoch:
                raise
            raise Superseded(f"{self.job.name}: partitions were given out anew") from error
        if epoch == self._epoch:
            self.admit(serial)

    def admit(self, serial: int) -> None:
        """Take runs again, except those that were fetched before (serial number up to `serial`)."""
        self._barrier = serial

    def submit(self, number: int, records: Sequence[Record], serial: int) -> None:
        """Hand over a run; a run of a revoked partition or from before a rewind is dropped."""
        partition = self.partitions.get(number)
        if partition is not None and serial > self._barrier:
            partition.submit(records)

    @property
    def state_bytes(self) -> int:
        """About how much memory the states at rest take, those included that are kept after a revocation."""
        tables = [partition.table for partition in self.partitions.values()]
        return sum(table.bytes for table in (*tables, *(kept.owned.table for kept in self._kept.values())))

    @property
    def takes_runs(self) -> bool:
        """Whether what the group gave it is restored and being folded, be it no partition at all."""
        return self._barrier != _NOTHING

    def wants(self, number: int) -> bool:
        """Return whether a partition has room for more records."""
        partition = self.partitions.get(number)
        return partition is not None and partition.queued < _QUEUE_BATCHES * self.job.max_batch_records

    def durable(self) -> dict[int, int]:
        """Return the source offsets that may be committed (the next to read), by partition."""
        return {
            number: partition.durable + 1 for number, partition in self.partitions.items() if partition.durable >= 0
        }

    def uncommitted(self) -> dict[int, int]:
        """Return those of the durable offsets that the group has not been told since the last restore.

        A restore tells it again, as `Source.check_ownership` may have set it back to what it was a moment before.
        """
        return {
            number: offset for number, offset in self.durable().items() if self.partitions[number].committed != offset
        }

    def told(self, offsets: Mapping[int, int]) -> None:
        """Hear that the group has been told."""
        for number, offset in offsets.items():
            if number in self.partitions:
                self.partitions[number].committed = offset

    async def revoke(self) -> None:
        """Drain every partition; keep the states of those that became durable, abandon the rest."""
        self._begin_epoch()
        self._revoked = True
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
        partitions = list(self.partitions.values())
        drained = await asyncio.gather(*(partition.drain() for partition in partitions))
        now = asyncio.get_running_loop().time()
        self._kept = {number: kept for number, kept in self._kept.items() if kept.until > now}
        until = now + self.job.retain_seconds
        for partition, clean in zip(partitions, drained, strict=True):
            if clean and self.job.stateful:
                self._kept[partition.number] = _Kept(partition.given_up(), until)
        if not all(drained):
            logger.warning("%s: not drained in time; abandoning what is in flight", self.job.name)
            await self._discard()

    def forget(self) -> None:
        """Drop all partitions; call after the last commit that follows `revoke`."""
        self.partitions.clear()

    async def stop(self) -> None:
        """End all work without waiting for what is in flight."""
        self._begin_epoch()
        self._revoked = True
        await self._close(self.partitions.values())
        self.partitions.clear()

    def _begin_epoch(self) -> int:
        self._barrier = _NOTHING
        self._epoch += 1
        return self._epoch

    async def _close(self, partitions: Iterable[Partition]) -> None:
        for partition in list(partitions):
            await partition.close()

    def _over_budget(self) -> OverBudget | None:
        """Return why nothing more may be folded; states that are only kept go first."""
        budget = self.job.memory_bytes
        if budget is None or self.state_bytes <= budget:
            return None
        self._kept.clear()
        held = self.state_bytes
        if held <= budget:
            return None
        return OverBudget(
            f"the states of this process take {held:,} bytes and may take {budget:,}: start another worker of "
            f"{self.job.name}, which takes over partitions, or allow more"
        )

    def _take_kept(self, number: int) -> Owned | None:
        kept = self._kept.pop(number, None)
        if kept is None or kept.until < asyncio.get_running_loop().time():
            return None
        return kept.owned

    async def _load_counts(self) -> None:
        marks = () if self.job.marks is None else (self.job.marks,)
        for topic in (self.job.source, *self.job.outputs, *marks):
            found = self.counts[topic] = await self.log.partitions(topic)
            expected = self.job.expected_partitions.get(topic, found)
            if found < expected or (found > expected and not self.job.may_grow):
                raise Refused(
                    f"topic {topic} has {found} partitions, expected {expected}: keys would change their partition; "
                    f"create it as declared"
                )

    async def _discard(self) -> None:
        await self._close(self.partitions.values())
        await self.log.abandon()

    def _on_trouble(self, partition: Partition, error: BaseException) -> None:
        if self._revoked or self.partitions.get(partition.number) is not partition:
            return  # it is being given up, or was: its next owner begins from the logs
        self._begin_recovery(error)

    def distrust(self, error: OffsetGone) -> None:
        """Hear that the source is not as it was; the logs say whether that is so, and what is to be done about it."""
        if self.takes_runs:
            self._begin_recovery(error)

    def _begin_recovery(self, error: BaseException) -> None:
        self._troubles.append(error)
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.create_task(self._recover())

    async def _pause_between_recoveries(self) -> None:
        """Wait before a recovery that follows closely on another: what did not help should not be done in a loop."""
        now = asyncio.get_running_loop().time()
        if now - self._recovered_at < _CALM_SECONDS:
            await asyncio.sleep(self.job.retry_seconds)
        self._recovered_at = asyncio.get_running_loop().time()

    async def _begin_again(self, error: BaseException) -> bool:
        """Give up what is in flight; return whether the group still counts on us."""
        assert self._source is not None
        self.recoveries += 1
        logger.warning("%s: %s; restoring from the logs", self.job.name, error)
        self._barrier = _NOTHING
        await self._pause_between_recoveries()
        await self._discard()
        self.partitions.clear()
        self._troubles.clear()
        if await self._source.check_ownership():
            return True
        logger.warning("%s: the group has moved on; waiting for its next assignment", self.job.name)
        return False

    async def _recover(self) -> None:
        """Begin again from the logs without leaving the group, as long as the group counts on us."""
        assert self._on_fatal is not None
        try:
            while self._troubles:
                for error in self._troubles:
                    if not isinstance(error, _HEALED):
                        raise error
                numbers = list(self.partitions)
                if not await self._begin_again(self._troubles[0]):
                    return
                await self.take_up(numbers)
        except asyncio.CancelledError:
            raise
        except Superseded as error:
            logger.info("%s", error)
        except Exception as fatal:  # noqa: BLE001 - whatever it is, the process must end and say so
            await self._on_fatal(fatal)
