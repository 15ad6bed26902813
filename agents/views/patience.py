"""Waiting for what will come back: Redis, a document, a release that can read what a newer one wrote."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from agents.view import Away
from agents.views.clients import Counters
from streams.errors import DocumentMissing, MalformedState, NewerState

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS: Final = 0.5
REMIND_SECONDS: Final = 30.0
_WORTH_IT: Final = (Away, DocumentMissing, NewerState, MalformedState)


class Patience:
    """Does something again and again until it can be done; says in the log and the counters that it waits."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def until(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` does once nothing keeps it from it; other errors are the caller's."""
        try:
            return await work()
        except _WORTH_IT as error:
            reason: Exception = error
        begun = said = time.monotonic()
        self._counters.waits += 1
        self._counters.waiting += 1
        logger.warning("waiting, and nothing is lost meanwhile: %s", reason)
        try:
            while True:
                await asyncio.sleep(RETRY_SECONDS)
                try:
                    result = await work()
                except _WORTH_IT as error:
                    if time.monotonic() - said > REMIND_SECONDS:
                        said = time.monotonic()
                        logger.warning("still waiting, for %.0f s by now: %s", said - begun, error)
                    continue
                logger.info("going on after %.1f s of waiting", time.monotonic() - begun)
                return result
        finally:
            self._counters.waiting -= 1

    async def until_done(self, work: Callable[[], T]) -> T:
        """Do the same with what is no coroutine."""

        async def done() -> T:
            return work()

        return await self.until(done)
