"""What an engine has done since its process began: plain numbers, added to at work, read by metrics at any time.

Readers may be other threads: every number is written by the event loop alone, and a reader sees the newest.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(slots=True)
class Counters:
    """What a process has done with one partition; a partition that is lost and comes back counts on."""

    records: int = 0
    outputs: int = 0
    dead_letters: int = 0
    batches: int = 0


@dataclasses.dataclass(slots=True)
class Restores:
    """How often states were restored, and how far the restore that is under way has come.

    `records` and `records_done` are offsets of changelog (or source, in a rebuild) of the partitions that have been
    begun so far: compacted records count as read.
    """

    ended: int = 0
    """Restores that ended well."""
    running: int = 0
    last_seconds: float = 0.0
    """How long the newest restore took that ended well."""
    partitions: int = 0
    partitions_done: int = 0
    records: int = 0
    records_done: int = 0

    @contextlib.contextmanager
    def one(self, partitions: int) -> Iterator[None]:
        """Count one restore of so many partitions; it has ended well if the block raises nothing."""
        now = asyncio.get_running_loop().time
        started = now()
        if not self.running:
            self.partitions = self.partitions_done = self.records = self.records_done = 0
        self.running += 1
        self.partitions += partitions
        try:
            yield
        finally:
            self.running -= 1
        self.ended += 1
        self.last_seconds = now() - started
