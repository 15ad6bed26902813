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
        return _stateless(job, number, committed, await log.bounds(job.source, number))
    topic = job.changelog
    _refuse_partitions(job, await log.partitions(topic), counts[job.source])
    owned, found = _begin(job, kept)
    unwritten: dict[bytes, None] = {}
    """Keys whose state in the changelog is wrong, until a claim has written all of them."""
    rebuilt = False
    for _ in range(_ATTEMPTS):
        if (await log.bounds(topic, number)).end < found.next_offset:  # what was read is gone: what is there now counts
            kept, rebuild, rebuilt = None, rebuild or rebuilt, False
            owned, found = _begin(job, None)
        begin = await _scan(log, topic, number, found, owned.table, progress)
        if kept is not None and found.suspects:
            kept = None
            owned, found = _begin(job, None)
            begin = await _scan(log, topic, number, found, owned.table, progress)
        source = await log.bounds(job.source, number)  # after the scan: whoever went on has read it further
        if found.suspects and not await _append_claim(
            job, log, number, found, found.partitions or counts[job.source], []
        ):
            continue  # where it was accepted it has told the clock of the brokers, by which suspects are old or young
        if rebuild or found.lost_to_compaction(log.now_ms(), job.compaction_lag_ms - 60_000):
            await _rebuild(job, log, number, found, owned, source, counts, committed, progress)
            unwritten |= dict.fromkeys((*found.fences, *owned.table))
            rebuild, rebuilt = False, True
        else:
            if not rebuilt:
                _refuse_unless_whole(topic, number, begin if kept is None else 0, found)
            _refuse_unless_sound(job, number, found, committed, source, counts)
            owned.position = found.position
        unwritten |= dict.fromkeys(found.hidden)
        repairs: Changes = [(key, owned.table.at_rest(key)) for key in unwritten]
        if rebuilt:
            repairs.append(changelog.rebuilt_from(found.next_offset))
        former = [changelog.unclaim(owner) for owner in found.claims]  # last: they tell what the repairs are for
        if await _append_claim(job, log, number, found, counts[job.source], [*repairs, *former]):
            owned.changelog_next, owned.owner = found.next_offset, found.owner
            return owned
    raise Refused(
        f"{topic}/{number}: other processes keep appending; see who else runs job {job.name} outside its group"
    )


def _begin(job: Job, kept: Owned | None) -> tuple[Owned, changelog.Restored]:
    """Return what an owner has before the first scan."""
    if kept is None:
        return Owned(new_table(job), -1), changelog.Restored()
    return kept, changelog.Restored(kept.position, kept.changelog_next, owner=kept.owner, claims={kept.owner: None})


def _refuse_partitions(job: Job, found: int, wanted: int) -> None:
    if found == wanted or (job.may_grow and found > wanted):
        return
    remedy = "add partitions to the changelog" if job.may_grow else "the source of this job does not grow in place"
    raise Refused(f"{job.changelog} has {found} partitions and {job.source} has {wanted}: they must be equal; {remedy}")


def _refuse_unless_whole(topic: str, number: int, begin: int, found: changelog.Restored) -> None:
    if begin > found.whole_from:
        raise Refused(
            f"{topic}/{number} begins at {begin}, but its records from {found.whole_from} on are needed: they "
            f"were deleted, which compaction does not do; see that its cleanup.policy is compact, and rebuild "
            f"the state from the source (worker option --rebuild)"
        )
    if found.misplaced >= found.whole_from:
        raise Refused(
            f"{topic}/{number}: what stands at offset {found.misplaced} was meant for a later one: while a worker "
            f"wrote to it, the topic was deleted and made anew, or lost its end; states are missing: rebuild the "
            f"state from the source (worker option --rebuild)"
        )


def _stateless(job: Job, number: int, committed: int | None, source: Bounds) -> Owned:
    resume = source.begin if committed is None else committed
    if not source.begin <= resume <= source.end:
        raise Refused(
            f"{job.source}/{number}: group committed {resume}, but the log holds {source.begin} to {source.end}: "
            f"records were lost to retention, or the topic was created anew; to go on from what is there, reset the "
            f"group's offset on purpose"
        )
    return Owned(StateTable(_never, _never), resume - 1)


def _never(_: object) -> bytes:
    raise EngineError("this job keeps no state: it has no changelog")


async def _scan(
    log: Log, topic: str, number: int, found: changelog.Restored, table: StateTable, progress: Restores
) -> int:
    """Take in what is new, to the end; return the first offset that the changelog still has.

    Whoever appends meanwhile lets compaction take away what was still to be read: only a scan that has found the end
    has found everything.
    """
    before, start = progress.records_done, None
    while True:
        bounds = await log.bounds(topic, number)
        if start is None:
            start = max(found.next_offset, bounds.begin)
        if found.next_offset >= bounds.end:
            break
        progress.records += bounds.end - max(found.next_offset, bounds.begin)
        async for records in log.read(topic, number, max(found.next_offset, bounds.begin), bounds.end):
            table.load(found.scan(records))
            progress.records_done = before + found.next_offset - start
        found.next_offset = bounds.end
        progress.records_done = before + bounds.end - start
    table.rollback()
    return bounds.begin


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
            f"it was truncated, or deleted and created anew; put the old log back, or start a new changelog"
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
            f"{source.begin} to {source.end} and {target} is needed: restore the log from a copy"
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
            outcome = fold(left)
            if outcome.consumed:
                owned.position = outcome.position
                progress.records_done = before + outcome.position + 1
            left = left[outcome.consumed :]
            if outcome.blocked is not None:
                if asyncio.get_running_loop().time() > deadline:
                    raise Refused(f"{job.source}/{number}: the rebuild cannot go on: {outcome.blocked}")
                await asyncio.sleep(job.retry_seconds)
    found.position = max(found.position, owned.position)
    found.fences |= dict.fromkeys((*found.fences, *owned.table), found.position)


async def _append_claim(
    job: Job, log: Log, number: int, found: changelog.Restored, partitions: int, changes: Changes
) -> bool:
    """Append who owns the partition now, behind changes; return False if somebody appended in the meantime."""
    assert job.changelog is not None
    topic = job.changelog
    owner = changelog.successor(found.owner)
    for part in _parts([*changes, changelog.claim(owner)], job.max_batch_bytes):
        entries = changelog.batch(part, found.position, partitions, owner, found.next_offset)
        base = await log.append(topic, number, entries)
        if base != found.next_offset:
            logger.warning("%s/%d: appended at %d, expected %d; reading again", topic, number, base, found.next_offset)
            return False
        found.next_offset = base + len(entries)
    found.owner = owner
    found.claims[owner] = None
    return True


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
