"""Fetches and seeks of one consumer: which run was fetched before a seek, and which after it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator


class Fetches:
    """Numbers fetches, and lets a seek happen only while none is under way.

    Partitions that are about to be sought must not be fetched: ask `held` of each. One seek at a time: a second one
    would seek under a fetch that the end of the first has let go on, and what that fetched would be taken for old and
    be passed over by the next.
    """

    def __init__(self) -> None:
        """Begin with no fetch."""
        self.serial = 0
        """Number of the newest fetch."""
        self.held: set[int] = set()
        """Partitions that must not be fetched now."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._seeking = asyncio.Lock()

    @contextlib.contextmanager
    def one(self) -> Iterator[int]:
        """Make one fetch within the block; yields its number."""
        self.serial += 1
        self._idle.clear()
        try:
            yield self.serial
        finally:
            self._idle.set()

    async def rewind(self, numbers: Iterable[int], seek: Callable[[], Awaitable[object]]) -> int:
        """Let `seek` change the positions of some partitions; return the number of the last fetch before."""
        async with self._seeking:
            held = set(numbers)
            self.held |= held
            try:
                await self._idle.wait()
                await seek()
            finally:
                self.held -= held
            return self.serial
