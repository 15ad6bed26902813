"""How an owner comes by the state of a partition, and when it must refuse."""

import asyncio
import dataclasses
import logging
import time
import uuid

from agents.engine import changelog
from agents.engine.errors import EngineError, Refused
from agents.engine.fold import Fold
from agents.engine.job import Job
from agents.engine.log import Bounds, Log
from agents.engine.table import StateTable

logger = logging.getLogger(__name__)

_ATTEMPTS = 20
_REBUILD_WAIT_SECONDS = 30.0


@dataclasses.dataclass(slots=True)
class Owned:
    """The state of a partition as its owner begins or ends: valid up to `position` of the source."""

    table: StateTable
    position: int
    changelog_next: int = 0

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
) -> Owned:
    """Read the changelog (only what is new behind `kept`), repair it, claim it; return state and position.

    `committed` is the group's committed offset or None.  With `rebuild` the changelog is not
    believed and the state is folded again from the whole source.  Raises Refused, with the remedy,
    where going on would lose or double events.
    """
    source = await log.bounds(job.source, number)
    if job.changelog is None:
        return _stateless(job, number, committed, source)
    topic = job.changelog
    if await log.partitions(topic) != counts[job.source]:
        raise Refused(
            f"{topic} has {await log.partitions(topic)} partitions and {job.source} has {counts[job.source]}: "
            f"they must be equal; a journal does not grow in place, migrate it to a new one"
        )
    owned = kept or Owned(new_table(job), -1)
    found = changelog.Restored(owned.position, owned.changelog_next)
    owner = uuid.uuid4().bytes
    for _ in range(_ATTEMPTS):
        await _scan(log, topic, number, found, owned.table)
        if rebuild or found.lost_to_compaction(log.now_ms(), job.compaction_lag_ms - 60_000):
            await _rebuild(job, log, number, found, owned, source, counts, committed)
        else:
            _refuse_unless_sound(job, number, found, committed, source, counts)
            owned.position = found.position
        repairs = [(key, owned.table.at_rest(key)) for key in found.suspects]
        if rebuild:
            repairs = [(key, owned.table.at_rest(key)) for key in {**found.fences, **dict.fromkeys(owned.table)}]
        claimed = await _claim(log, topic, number, found, owned, repairs, counts[job.source], owner)
        if claimed:
            return owned
        rebuild = False
    raise Refused(
        f"{topic}/{number}: other processes keep appending; see who else runs job {job.name} outside its group"
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


async def _scan(log: Log, topic: str, number: int, found: changelog.Restored, table: StateTable) -> None:
    bounds = await log.bounds(topic, number)
    start = max(found.next_offset, bounds.begin)
    async for records in log.read(topic, number, start, bounds.end):
        table.load(found.scan(records))
    found.next_offset = bounds.end
    table.rollback()


def _refuse_unless_sound(
    job: Job,
    number: int,
    found: changelog.Restored,
    committed: int | None,
    source: Bounds,
    counts: dict[str, int],
) -> None:
    place = f"{job.source}/{number}"
    if found.partitions is not None and found.partitions != counts[job.source]:
        raise Refused(
            f"{job.source} has {counts[job.source]} partitions, but the state was folded over {found.partitions}: "
            f"keys would move between partitions; migrate to a new journal instead of adding partitions"
        )
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
    async for records in log.read(job.source, number, 0, target + 1):
        left = records
        deadline = time.monotonic() + _REBUILD_WAIT_SECONDS
        while left:
            outcome = fold(left)
            if outcome.consumed:
                owned.position = outcome.position
            left = left[outcome.consumed :]
            if outcome.blocked is not None:
                if time.monotonic() > deadline:
                    raise Refused(f"{job.source}/{number}: the rebuild cannot go on: {outcome.blocked}")
                await asyncio.sleep(job.retry_seconds)
    found.position = max(found.position, owned.position)


async def _claim(
    log: Log,
    topic: str,
    number: int,
    found: changelog.Restored,
    owned: Owned,
    repairs: list[tuple[bytes, bytes | None]],
    partitions: int,
    owner: bytes,
) -> bool:
    """Append repairs and a first watermark; return False if somebody appended in the meantime."""
    for start in range(0, max(1, len(repairs)), 500):
        part = repairs[start : start + 500]
        entries = changelog.batch(part, owned.position, partitions, owner)
        base = await log.append(topic, number, entries)
        if base != found.next_offset:
            logger.warning("%s/%d: appended at %d, expected %d; reading again", topic, number, base, found.next_offset)
            return False
        found.next_offset = base + len(entries)
    found.suspects.clear()
    owned.changelog_next = found.next_offset
    return True
