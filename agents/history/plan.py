"""What a replay will read of each partition, fixed before it begins, and the folder in which it can go on later."""

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from aiokafka import TopicPartition

from agents.errors import AttuneError, UsageError
from agents.history.reading import bounds, raise_if_cut

_PLAN: Final = "replay.json"


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """One partition: what is given out comes from begin <= offset < end, where `last` is the end of the journal."""

    partition: int
    begin: int
    end: int
    last: int

    def records(self, *, folds: bool) -> int:
        """Return how many offsets are read: a fold needs everything before, interactions as they stand do not."""
        return self.end if folds else self.end - self.begin


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the offsets: append times (from inclusive, to exclusive) or offsets (both inclusive)."""

    from_ms: int | None = None
    to_ms: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, in the words of whoever asked, and the ranges that came of it at that time."""

    request: dict[str, Any]
    since_ms: int | None
    until_ms: int | None
    ranges: tuple[Range, ...]
    complete: bool = False
    size: int | None = None
    """Bytes of the file that was made, once it is complete."""


async def ranges(
    consumer: Any, journal: str, partitions: Sequence[int], wanted: Bounds, *, folds: bool
) -> tuple[Range, ...]:
    """Return the range of each partition as the journal stands now.

    Raises AttuneError where the first records of a partition are gone that is to be folded, UsageError for an offset
    that the journal does not hold.
    """
    return tuple(
        [await _range(consumer, TopicPartition(journal, number), wanted, folds=folds) for number in partitions]
    )


async def _range(consumer: Any, tp: TopicPartition, wanted: Bounds, *, folds: bool) -> Range:
    first, last = await bounds(consumer, tp)
    if folds:
        raise_if_cut(tp, first)
    for flag, offset in (("--from-offset", wanted.from_offset), ("--to-offset", wanted.to_offset)):
        if offset is not None and not first <= offset < last:
            held = f"offsets {first:,} to {last - 1:,}" if last > first else "nothing yet"
            raise UsageError(f"{flag} {offset:,}: {tp.topic}/{tp.partition} holds {held}", "choose one of these")
    begin = first if wanted.from_offset is None else wanted.from_offset
    end = last if wanted.to_offset is None else wanted.to_offset + 1
    if wanted.from_ms is not None:
        begin = max(begin, await offset_at(consumer, tp, wanted.from_ms, last))
    if wanted.to_ms is not None:
        end = min(end, await offset_at(consumer, tp, wanted.to_ms, last))
    return Range(partition=tp.partition, begin=min(begin, end), end=end, last=last)


async def offset_at(consumer: Any, tp: TopicPartition, time_ms: int, last: int) -> int:
    """Return the offset of the first record that was appended at or after a time, `last` where there is none."""
    found = (await consumer.offsets_for_times({tp: time_ms}))[tp]
    return last if found is None else min(int(found.offset), last)


class Folder:
    """Where a replay keeps what it has given out so far; one replay at a time works in it."""

    def __init__(self, path: Path) -> None:
        """Lock it; AttuneError where another replay works in it, UsageError where it cannot be a folder."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (path / "lock").open("wb")
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(
                f"{path} is no folder", "name a folder for --resume; it is made if it is not there"
            ) from error
        except OSError as error:
            raise UsageError(
                f"{path} cannot be worked in: {error.strerror}", "name a folder that this user may write into"
            ) from error
        try:
            fcntl.flock(self._lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AttuneError(
                f"another replay works in {path}", "wait until it ends, or give this one a folder of its own"
            ) from None

    def plan(self, request: Mapping[str, Any]) -> Plan | None:
        """Return the plan that was begun here, None for a new folder; UsageError where something else was asked."""
        path = self.path / _PLAN
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Plan)
        except FileNotFoundError:
            if any(entry.name != "lock" for entry in self.path.iterdir()):
                raise UsageError(
                    f"{self.path} holds other files", "name an empty or a new folder for --resume"
                ) from None
            return None
        except msgspec.MsgspecError as error:
            raise AttuneError(f"{path} is no plan of a replay: {error}", f"begin again: delete {self.path}") from error
        differing = [
            f"{name} {found.request.get(name)!r}, now {request.get(name)!r}"
            for name in sorted({*found.request, *request})
            if found.request.get(name) != request.get(name)
        ]
        if differing:
            raise UsageError(
                f"{self.path} holds another replay: {'; '.join(differing)}",
                "ask for the same to go on with it, or name another folder",
            )
        return found

    def keep(self, plan: Plan) -> None:
        """Write the plan down."""
        fresh = self.path / (_PLAN + ".new")
        fresh.write_bytes(msgspec.json.encode(plan))
        fresh.replace(self.path / _PLAN)

    def close(self) -> None:
        """Let others work here."""
        self._lock.close()
