"""What was given out of one journal partition so far, and how far that goes: survives kill -9 at any moment.

The checkpoint is replaced as a whole after what it counts is on disk. What a part holds beyond its checkpoint (the
process died in between) is cut off when it is opened again, so that nothing stands there twice.
"""

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from agents.errors import AttuneError

_CHECKPOINT_SECONDS: Final = 1.0
_LOCK_SECONDS: Final = 10.0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a partition is done: everything below `next` was given out, `size` bytes of it stand in the part."""

    next: int = 0
    size: int = 0
    given: int = 0
    refused: int = 0
    met: tuple[str, ...] = ()
    """Customers among those asked for that the journal knows."""
    done: bool = False


class Part:
    """The part of one partition in a folder; only one process at a time has it open."""

    def __init__(self, folder: Path, partition: int) -> None:
        """Open it where it was left; AttuneError while another process works on it."""
        self._path = part_path(folder, partition)
        self._marks = checkpoint_path(folder, partition)
        self._lock = (folder / f"{partition}.lock").open("wb")
        try:
            _lock(self._lock.fileno(), folder)
            self.checkpoint = read_checkpoint(folder, partition)
            self._file = self._path.open("ab")
            self._file.truncate(self.checkpoint.size)
        except BaseException:
            self._lock.close()
            raise
        self._written = self.checkpoint
        self._next_time = time.monotonic() + _CHECKPOINT_SECONDS

    def add(self, content: bytes, *, next_offset: int, given: int, refused: int, met: Iterable[str] = ()) -> None:
        """Append what was given out up to an offset; `refused` is the total so far. Marked once a second or so."""
        self._file.write(content)
        now = self.checkpoint
        self.checkpoint = Checkpoint(
            next=next_offset, size=now.size + len(content), given=now.given + given, refused=refused, met=tuple(met)
        )
        if time.monotonic() >= self._next_time:
            self.mark()

    def mark(self, *, done: bool = False) -> None:
        """Make what was added so far durable."""
        self.checkpoint = msgspec.structs.replace(self.checkpoint, done=done)
        if self.checkpoint != self._written:
            self._file.flush()
            os.fsync(self._file.fileno())
            fresh = self._marks.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(self.checkpoint))
            fresh.replace(self._marks)
            self._written = self.checkpoint
        self._next_time = time.monotonic() + _CHECKPOINT_SECONDS

    def close(self) -> None:
        """Close it as it stands: what was not marked counts as not given out."""
        self._file.close()
        self._lock.close()


def part_path(folder: Path, partition: int) -> Path:
    """Return the file that holds what was given out of a partition."""
    return folder / f"{partition}.part"


def checkpoint_path(folder: Path, partition: int) -> Path:
    """Return the file that says how far a partition is done."""
    return folder / f"{partition}.json"


def read_checkpoint(folder: Path, partition: int) -> Checkpoint:
    """Return how far a partition is done; AttuneError for a file that says nothing of the kind."""
    path = checkpoint_path(folder, partition)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return Checkpoint()
    except msgspec.MsgspecError as error:
        raise AttuneError(f"{path} is no checkpoint: {error}", f"begin again: delete {folder}") from error


def _lock(descriptor: int, folder: Path) -> None:
    """Lock or raise; what works for a parent that was killed ends by itself within moments, so wait for it."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise AttuneError(
                    f"another replay works in {folder}", "wait until it ends, or give this one a folder of its own"
                ) from None
            time.sleep(0.1)
        else:
            return
