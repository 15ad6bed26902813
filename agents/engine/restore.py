"""How an owner comes by the state of a partition, and when it must refuse."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterator

from agents.engine import changelog
from agents.engine.counters import Restores
from agents.engine.errors import EngineError, Refused
from agents.engine.fold import Fold
from agents.engine.job import Job
from agents.engine.log import Bounds, Log
from agents.engine.table import StateTable

logger = logging.getLogger(__name__)

Changes = list[tuple[bytes, bytes | None]]

_ATTEMPTS = 20
_REBUILD_WAIT_SECONDS = 30.0


@dataclasses.dataclass(slots=True)
class Owned:
    """The state of a partition as its owner begins or ends: valid up to `position` of the source."""

    table: StateTable
    position: int
    changelog_next: int = 0
    owner: bytes = changelog.NOBODY
    """Who owns the partition by the changelog."""
    last: bytes = changelog.NOTHING_FOLDED
    """Fingerprint of the source's record at `position`."""

    @property
    def resume(self) -> int:
        """Source offset to read next."""
        return self.position + 1


def new_table(job: Job) -> StateTable:
    """Return an empty table for a job."""
    if job.codec is None:
        raise EngineError(f"job {job.name} has a changelog and so needs a codec for its states")
    return StateTable(job.codec.encode, job.codec.decode, decoded=job.decoded_states, max_bytes=job.max_state_bytes)


async def restore(
    job: Job,
    log: Log,
    number: int,
    *,
    committed: int | None,
    counts: dict[str, int],
    kept: Owned | None = None,
    rebuild: bool = False,
    progress: Restores | None = None,
) -> Owned:
    """Read the changelog (only what is new behind `kept`), repair it, claim it; return state and position.

    `committed` is the group's committed offset or None.  With `rebuild` the changelog is not
    believed and the state is folded again from the whole source.  `progress` is told how far it
    has come.  Raises Refused, with the remedy, where going on would lose or double events.
    """
    progress = progress or Restores()
    if job.changelog is None:
        return await _stateless(job, log, number, committed, counts)
    try:
        found = await log.partitions(job.changelog)
    except Refused as error:
        if committed is None:
            raise
        raise Refused(
            f"changelog {job.changelog} is not there, but {job.source}/{number} was folded up to {committed}: if it "
            f"was deleted, create it as declared and rebuild the state from the source (worker option --rebuild); "
            f"{error}"
        ) from error
    _refuse_partitions(job, found, counts[job.source])
    return await _Restoring(job, log, number, committed, counts, kept, rebuild, progress).run()


@dataclasses.dataclass(slots=True)
class _Restoring:
    """One restore: what was asked, and how far it is."""

    job: Job
    log: Log
    number: int
    committed: int | None
    counts: dict[str, int]
    kept: Owned | None
    rebuild: bool
    progress: Restores
    owned: Owned = dataclasses.field(init=False)
    found: changelog.Restored = dataclasses.field(init=False)
    unwritten: dict[bytes, None] = dataclasses.field(default_factory=dict)
    """Keys whose state in the changelog is wrong, until a claim has written all of them."""
    rebuilt: bool = False
    end: int = 0
    """What is known of the changelog's end: an append was told to stand before it."""

    def __post_init__(self) -> None:
        self.owned, self.found = _begin(self.job, self.kept)

    async def run(self) -> Owned:
        """Read, repair and claim until nobody else appends in between."""
        for _ in range(_ATTEMPTS):
            if await self._settle():
                found, owned = self.found, self.owned
                owned.changelog_next, owned.owner, owned.last = found.next_offset, found.owner, found.last
                return owned
        raise Refused(
            f"{self.job.changelog}/{self.number}: other processes keep appending; see who else runs job "
            f"{self.job.name} outside its group"
        )

    async def _settle(self) -> bool:
        """Go through it once; return False if somebody has appended, so that it must be read again."""
        job, number = self.job, self.number
        begin = await self._read()
        owned, found = self.owned, self.found
        if not self.rebuild and not self.rebuilt:
            _refuse_unless_whole(job, number, begin, found)
        # An accepted claim tells the clock of the brokers, by which suspects are old or young. And it tells that the
        # end that was read is the end: a leader that was cut off from its followers gives out an older one.
        behind = (self.committed or 0) > found.position + 1
        if (found.suspects or behind) and not await self._claim(found.partitions or self.counts[job.source], []):
            return False
        source = await _bounds(job, self.log, job.source, number, max(found.position + 1, self.committed or 0))
        await _refuse_another_source(job, self.log, number, found, source)
        if self.rebuild or found.lost_to_compaction(self.log.now_ms(), job.compaction_lag_ms - 60_000):
            await _rebuild(job, self.log, number, found, owned, source, self.counts, self.committed, self.progress)
            self.unwritten |= dict.fromkeys((*found.fences, *owned.table))
            self.rebuild, self.rebuilt = False, True
        else:
            _refuse_unless_sound(job, number, found, self.committed, source, self.counts)
            owned.position = found.position
        self.unwritten |= dict.fromkeys((*found.hidden, *found.foreign))
        repairs: Changes = [(key, owned.table.at_rest(key)) for key in self.unwritten]
        if self.rebuilt:
            repairs.append(changelog.rebuilt_from(found.next_offset))
        former = [changelog.unclaim(owner) for owner in found.claims]  # last: they tell what the repairs are for
        return await self._claim(self.counts[job.source], [*repairs, *former])

    async def _read(self) -> int:
        """Read what is new in the changelog; return the first offset that must be there for it to be whole."""
        job, topic = self.job, self.job.changelog or ""
        bounds = await _bounds(job, self.log, topic, self.number, self.found.next_offset)
        if bounds.end < self.found.next_offset:
            self._begin_anew()  # what was read is gone: what is there now counts
        goes_on, self.found.unheard = self.found.next_offset > 0, False
        begin = await self._scan(topic)
        if (self.kept is not None and self.found.suspects) or (goes_on and not self.found.follows):
            self._begin_anew()
            begin = await self._scan(topic)
        return begin if self.kept is None else 0

    async def _scan(self, topic: str) -> int:
        """Take in what is new, to the end; return the first offset that the changelog still has.

        Whoever appends meanwhile lets compaction take away what was still to be read: only a scan that has found the
        end has found everything.
        """
        found, progress, log, number = self.found, self.progress, self.log, self.number
        before, start = progress.records_done, None
        while True:
            bounds = await _bounds(self.job, log, topic, number, self.end)
            if start is None:
                start = max(found.next_offset, bounds.begin)
            if found.next_offset >= bounds.end:
                break
            progress.records += bounds.end - max(found.next_offset, bounds.begin)
            async for records in log.read(topic, number, max(found.next_offset, bounds.begin), bounds.end):
                self.owned.table.load(found.scan(records))
                progress.records_done = before + found.next_offset - start
            found.next_offset = bounds.end
            progress.records_done = before + bounds.end - start
        self.owned.table.rollback()
        return bounds.begin

    def _begin_anew(self) -> None:
        self.kept, self.rebuild, self.rebuilt = None, self.rebuild or self.rebuilt, False
        self.owned, self.found = _begin(self.job, None)

    async def _claim(self, partitions: int, changes: Changes) -> bool:
        """Append who owns the partition now, behind changes; return False if somebody appended in the meantime."""
        job, number, found = self.job, self.number, self.found
        topic = job.changelog or ""
        owner = changelog.successor(found.owner)
        for part in _parts([*changes, changelog.claim(owner)], job.max_batch_bytes):
            entries = changelog.batch(part, found.position, partitions, owner, found.next_offset, found.last)
            base = await self.log.append(topic, number, entries)
            self.end = base + len(entries)
            if base != found.next_offset:
                words = "%s/%d: appended at %d, expected %d; reading again"
                logger.warning(words, topic, number, base, found.next_offset)
                if base < found.next_offset:
                    self._begin_anew()  # as in `_read`; until then the log may have grown beyond that again
                return False
            found.next_offset = self.end
        found.owner = owner
        found.claims[owner] = None
        return True


async def _bounds(job: Job, log: Log, topic: str, number: int, needed: int) -> Bounds:
    """Return the bounds of a log that must go up to an offset.

    If they do not, ask for a while: a leader that was cut off tells an older end until its clients know the new one.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + job.confirm_seconds
    while True:
        bounds = await log.bounds(topic, number)
        if bounds.end >= needed or loop.time() >= deadline:
            return bounds
        await asyncio.sleep(job.retry_seconds)


def _begin(job: Job, kept: Owned | None) -> tuple[Owned, changelog.Restored]:
    """Return what an owner has before the first scan."""
    if kept is None:
        return Owned(new_table(job), -1), changelog.Restored()
    found = changelog.Restored(
        kept.position, kept.changelog_next, kept.last, owner=kept.owner, claims={kept.owner: None}
    )
    return kept, found


def _refuse_partitions(job: Job, found: int, wanted: int) -> None:
    if found == wanted or (job.may_grow and found > wanted):
        return
    remedy = "add partitions to the changelog" if job.may_grow else "the source of this job does not grow in place"
    raise Refused(f"{job.changelog} has {found} partitions and {job.source} has {wanted}: they must be equal; {remedy}")


def _refuse_unless_whole(job: Job, number: int, begin: int, found: changelog.Restored) -> None:
    topic = job.changelog
    if begin > found.whole_from:
        raise Refused(
            f"{topic}/{number} begins at {begin}, but its records from {found.whole_from} on are needed: they "
            f"were deleted, which compaction does not do; see that its cleanup.policy is compact, and rebuild "
            f"the state from the source (worker option --rebuild)"
        )
    if found.unreadable_at >= found.whole_from:
        raise Refused(found.unreadable)
    if found.misplaced >= found.whole_from:
        raise Refused(
            f"{topic}/{number}: who wrote offset {found.misplaced} had seen records that are gone: while a worker "
            f"wrote to it, the topic was deleted and made anew, or lost its end; states are missing: rebuild the "
            f"state from the source (worker option --rebuild)"
        )


async def _stateless(job: Job, log: Log, number: int, committed: int | None, counts: dict[str, int]) -> Owned:
    marked = await _marked(job, log, number, counts)
    source = await _bounds(job, log, job.source, number, max(committed or 0, marked.position + 1))
    if marked.position >= source.end:
        raise Refused(
            f"{job.source}/{number}: it was read up to {marked.position}, but the log holds {source.begin} to "
            f"{source.end}: it was truncated, or deleted and created anew; put the old log back, or {job.new_source}"
        )
    await _refuse_another_source(job, log, number, marked, source)
    place, holds = f"{job.source}/{number}", f"the log holds {source.begin} to {source.end}"
    if committed is not None and committed > source.end:
        raise Refused(
            f"{place}: group committed {committed}, but {holds}: it was truncated, or deleted and created anew; put "
            f"the old log back, or {job.new_source}"
        )
    known = committed
    if known is None and marked.position >= 0:
        known = marked.position + 1
    if known is not None and known < source.begin:
        raise Refused(
            f"{place}: {known} was to be read next, but {holds}: records were lost to retention; to go on from what is "
            f"there, reset the group's offset on purpose"
        )
    resume = source.begin if committed is None else committed
    owned = Owned(StateTable(_never, _never), resume - 1)
    if marked.position == resume - 1:
        owned.last = marked.last
    elif source.begin < resume:  # so that also an owner for whom nothing comes can say what is there
        async for records in log.read(job.source, number, resume - 1, resume):
            owned.last = changelog.fingerprint(records[0])
    return owned


async def _marked(job: Job, log: Log, number: int, counts: dict[str, int]) -> changelog.Restored:
    """Return what the newest mark says; a position of -1 where there is none."""
    found = changelog.Restored()
    if job.marks is not None and number >= counts[job.marks]:
        words = "%s/%d is read without marks, a topic that is made anew is not told: %s has %d partitions, add some"
        logger.warning(words, job.source, number, job.marks, counts[job.marks])
    elif job.marks is not None:
        bounds = await log.bounds(job.marks, number)
        async for records in log.read(job.marks, number, bounds.begin, bounds.end):
            found.scan(records)
    return found


def _never(_: object) -> bytes:
    raise EngineError("this job keeps no state: it has no changelog")


async def _refuse_another_source(job: Job, log: Log, number: int, found: changelog.Restored, source: Bounds) -> None:
    """Look whether the source still has the last record that was folded, unless retention has taken it away."""
    at = found.position
    if found.last == changelog.NOTHING_FOLDED or not source.begin <= at < source.end:
        return
    async for records in log.read(job.source, number, at, at + 1):
        if changelog.fingerprint(records[0]) != found.last:
            raise Refused(
                f"{job.source}/{number}: the record at {at} is not the one that was read there: the topic was deleted "
                f"and created anew, and has grown since; put the old log back, or {job.new_source}"
            )


def _refuse_unless_sound(
    job: Job,
    number: int,
    found: changelog.Restored,
    committed: int | None,
    source: Bounds,
    counts: dict[str, int],
) -> None:
    place = f"{job.source}/{number}"
    count, before = counts[job.source], found.partitions
    if before is not None and before != count and not (job.may_grow and before < count):
        why = (
            "the topic was made anew with fewer; put the old one back"
            if job.may_grow
            else "keys would move between partitions; migrate to a new topic instead of adding partitions"
        )
        raise Refused(f"{job.source} has {count} partitions, but the state was folded over {before}: {why}")
    if committed is not None and committed > found.position + 1:
        raise Refused(
            f"{place}: offset {committed} is committed, but the changelog {job.changelog} ends at position "
            f"{found.position}: the changelog was lost or truncated; rebuild the state from the source "
            f"(worker option --rebuild)"
        )
    if found.position < 0 and committed is None:
        if source.begin > 0 and job.whole_source:
            raise Refused(
                f"{place}: there is no state and the log begins at {source.begin}: earlier records are gone, so the "
                f"state cannot be whole; restore the changelog {job.changelog} from a copy"
            )
        found.position = source.begin - 1
        return
    if not source.begin <= found.position + 1 <= source.end:
        raise Refused(
            f"{place}: the state goes up to {found.position}, but the log holds {source.begin} to {source.end}: "
            f"it was truncated, or deleted and created anew; put the old log back, or {job.new_source}"
        )


async def _rebuild(
    job: Job,
    log: Log,
    number: int,
    found: changelog.Restored,
    owned: Owned,
    source: Bounds,
    counts: dict[str, int],
    committed: int | None,
    progress: Restores,
) -> None:
    """Fold the source again from its first record, outputs muted: they were durable before watermark and commit."""
    target = max(found.position, (committed or 0) - 1)
    if source.begin > 0 or target >= source.end:
        raise Refused(
            f"{job.source}/{number}: the state must be rebuilt from the source, but the log holds only "
            f"{source.begin} to {source.end} and {target} is needed: put the log back from a copy, or {job.new_source}"
        )
    logger.warning("%s/%d: rebuilding state from the source up to %d", job.source, number, target)
    owned.table = new_table(job)
    fold = Fold(job, owned.table, counts)
    owned.position = -1
    before = progress.records_done
    progress.records += target + 1
    async for records in log.read(job.source, number, 0, target + 1):
        left = records
        deadline = asyncio.get_running_loop().time() + _REBUILD_WAIT_SECONDS
        while left:
            outcome = fold(left[: job.max_batch_records])
            if outcome.consumed:
                owned.position, owned.last = outcome.position, changelog.fingerprint(left[outcome.consumed - 1])
                progress.records_done = before + outcome.position + 1
            left = left[outcome.consumed :]
            if left:
                await asyncio.sleep(0)  # heartbeats wait for a batch, not for a whole fetch
            if outcome.blocked is not None:
                if asyncio.get_running_loop().time() > deadline:
                    raise Refused(f"{job.source}/{number}: the rebuild cannot go on: {outcome.blocked}")
                await asyncio.sleep(job.retry_seconds)
    if owned.position >= found.position:
        found.position, found.last = owned.position, owned.last
    found.fences |= dict.fromkeys((*found.fences, *owned.table), found.position)


def _parts(repairs: Changes, most_bytes: int) -> Iterator[Changes]:
    """Cut repairs into parts that fit into one batch each; at least one part, which may be empty."""
    part: Changes = []
    size = 0
    for key, value in repairs:
        needed = len(key) + len(value or b"") + 60
        if part and size + needed > most_bytes:
            yield part
            part, size = [], 0
        part.append((key, value))
        size += needed
    yield part
