"""The engine with one of its safeguards taken out: some seed must find each, or the simulation is blind to it."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest.mock import patch

from agents.engine import changelog, fold, partition, restore, worker
from agents.engine.fetches import Fetches
from tests.simulation import judge
from tests.simulation.cluster import Client
from tests.simulation.world import World

Mutant = Callable[[], contextlib.AbstractContextManager[Any]]


def changelog_before_outputs() -> contextlib.AbstractContextManager[Any]:
    """The changelog is appended first, then the outputs."""

    async def publish(self: Any, outcome: Any, previous: Any, turns: Any) -> None:
        try:
            if previous is not None:
                await previous
            if self._trouble is None:
                await self._write_changelog(self._job.changelog, outcome)
                self.durable = outcome.position
            if outcome.sends:
                await partition.send_all(self._log, outcome.sends, turns)
        except Exception as error:  # noqa: BLE001 - as in the engine
            self._fail(error)
        finally:
            self._slots.release()

    return patch.object(partition.Partition, "_publish", publish)


def last_writer_wins() -> contextlib.AbstractContextManager[Any]:
    """A restore believes the last record of each key, whatever its fence and owner."""

    def scan(self: Any, records: Any) -> list[tuple[bytes, bytes | None]]:
        changes = []
        for record in records:
            self.next_offset = record.offset + 1
            self.position = max(self.position, changelog.fence_of(record))
            if record.key == changelog.WATERMARK:
                self.partitions = changelog.Watermark.decode(record.value).partitions
            elif not record.key.startswith(b"\0") or record.key == judge.POLICY:
                changes.append((record.key, record.value))
        return changes

    return patch.object(changelog.Restored, "scan", scan)


@contextlib.contextmanager
def no_fence() -> Iterator[None]:
    """An owner does not look where its changelog batches land, and a restore does not tell late ones.

    The first alone is covered by the second: a restore rebuilds what it can no longer repair.
    """

    async def write(self: Any, topic: str, outcome: Any, _last: bytes) -> None:
        entries = changelog.batch(outcome.changes, outcome.position, self._source_count, self.owner)
        await self._log.append(topic, self.number, entries)

    with patch.object(partition.Partition, "_write_changelog", write), late_appends_not_told():
        yield


def late_appends_not_told() -> contextlib.AbstractContextManager[Any]:
    """A restore takes the newest fence of each key, and does not ask what compaction makes of a late append."""
    return patch.object(changelog.Restored, "suspects", property(lambda _: {}, lambda *_: None))


def loss_not_told() -> contextlib.AbstractContextManager[Any]:
    """A restore does not ask whether a batch was meant for a later offset than it has."""
    return patch.object(changelog.Restored, "misplaced", property(lambda _: -1, lambda *_: None))


@contextlib.contextmanager
def no_claim() -> Iterator[None]:
    """A restore does not look whether somebody appended before it claimed the partition, and owners have no numbers.

    The first alone is covered by the second: what was overlooked is told by the next restore.
    """
    original = restore._Restoring._claim

    async def claim(self: Any, *args: Any) -> bool:
        if not await original(self, *args):
            self.found.next_offset = (await self.log.bounds(self.job.changelog, self.number)).end
        return True

    with patch.object(restore._Restoring, "_claim", claim), no_owner_numbers():
        yield


def no_owner_numbers() -> contextlib.AbstractContextManager[Any]:
    """Owners are not numbered, so that a late append is told by its fence alone."""
    return patch.object(changelog, "successor", lambda _owner: changelog.NOBODY)


def no_repairs() -> contextlib.AbstractContextManager[Any]:
    """A restore does not write again what a late append has hidden."""
    original = restore._Restoring._claim

    async def claim(self: Any, partitions: int, changes: Any) -> bool:
        return await original(self, partitions, [change for change in changes if change[0].startswith(changelog.CLAIM)])

    return patch.object(restore._Restoring, "_claim", claim)


def end_not_confirmed() -> contextlib.AbstractContextManager[Any]:
    """A restore believes at once whoever says that a log ends before what is known of it."""

    async def bounds(_job: Any, log: Any, topic: str, number: int, _needed: int) -> Any:
        return await log.bounds(topic, number)

    return patch.object(restore, "_bounds", bounds)


def clock_of_its_own() -> contextlib.AbstractContextManager[Any]:
    """How old a late append is, is judged by the clock of the process."""
    return patch.object(Client, "now_ms", lambda self: self._cluster.now_ms() + self.first_skew_ms)


def compaction_ignored() -> contextlib.AbstractContextManager[Any]:
    """A late append that is older than the compaction lag is taken for one whose newer version can still be read."""
    return patch.object(changelog.Restored, "lost_to_compaction", lambda *_: 0)


def resume_at_committed() -> contextlib.AbstractContextManager[Any]:
    """An owner begins to read where the group's commit stands, not behind its state."""
    original = restore.restore

    async def resumed(*args: Any, committed: int | None, **options: Any) -> Any:
        owned = await original(*args, committed=committed, **options)
        owned.position = (committed or 0) - 1
        return owned

    return patch.object(worker, "restore", resumed)


def kept_undrained() -> contextlib.AbstractContextManager[Any]:
    """A revocation keeps states whose last batches did not become durable."""
    original = partition.Partition.drain

    async def drain(self: Any) -> bool:
        await original(self)
        return True

    return patch.object(partition.Partition, "drain", drain)


def committed_too_soon() -> contextlib.AbstractContextManager[Any]:
    """What is folded is committed, durable or not."""
    return patch.object(
        worker.Engine,
        "durable",
        lambda self: {number: one.folded + 1 for number, one in self.partitions.items() if one.folded >= 0},
    )


def outputs_overtake() -> contextlib.AbstractContextManager[Any]:
    """Outputs of a batch do not wait for those of the batch before."""

    async def send(log: Any, topic: str, number: int, entries: Any, turn: Any) -> None:
        await asyncio.sleep(0.001 * (len(entries) % 3))
        await log.append(topic, number, entries)
        turn[1].set()

    return patch.object(partition, "_send_in_order", send)


def runs_from_before() -> contextlib.AbstractContextManager[Any]:
    """A run that was fetched before a rewind is folded after it."""
    return patch.object(worker.Engine, "admit", lambda self, _serial: setattr(self, "_barrier", -1))


def seeks_at_once() -> contextlib.AbstractContextManager[Any]:
    """A second seek does not wait for the first."""
    original = Fetches.rewind

    async def rewind(self: Any, *args: Any) -> int:
        self._seeking = asyncio.Lock()
        return await original(self, *args)

    return patch.object(Fetches, "rewind", rewind)


def no_rollback() -> contextlib.AbstractContextManager[Any]:
    """What a record changed before it raised stays changed."""
    return patch.object(fold.StateTable, "rollback", lambda self: self._dirty.clear())


@contextlib.contextmanager
def policy_from_outside() -> Iterator[None]:
    """The policy is not read from the log: it counts from the moment at which it is published."""
    known: dict[str, int] = {}
    original = World._landed

    def landed(self: Any, place: Any, base: int, entries: Any, by: str) -> None:
        for key, value, _ in entries if place[0] == judge.SOURCE else ():
            if key == judge.POLICY:
                known["factor"] = int(value)
        original(self, place, base, entries, by)

    expected = World.__post_init__

    def prepared(self: Any) -> None:
        known.clear()
        with patch.object(judge, "factor_of", inside):
            expected(self)

    inside = judge.factor_of
    with (
        patch.object(World, "_landed", landed),
        patch.object(World, "__post_init__", prepared),
        patch.object(judge, "factor_of", lambda _table: known.get("factor", 1)),
    ):
        yield


MUTANTS: Final[tuple[Mutant, ...]] = (
    changelog_before_outputs,
    last_writer_wins,
    late_appends_not_told,
    loss_not_told,
    end_not_confirmed,
    no_fence,
    no_claim,
    no_owner_numbers,
    no_repairs,
    clock_of_its_own,
    compaction_ignored,
    resume_at_committed,
    kept_undrained,
    committed_too_soon,
    outputs_overtake,
    runs_from_before,
    seeks_at_once,
    no_rollback,
    policy_from_outside,
)

LOSING: Final = (loss_not_told, end_not_confirmed, seeks_at_once)
"""Those that are looked for where changelogs are lost, too."""
