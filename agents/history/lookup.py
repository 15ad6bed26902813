"""One journal partition folded to its end, to look something up: until views exist there is no quicker answer.

It reads with a plain consumer that belongs to no group, commits nothing and sends nothing.
"""

import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition

from agents.errors import AttuneError

_STILL_SECONDS = 60.0


class Outcome(Protocol):
    """What folding a run of records did."""

    @property
    def consumed(self) -> int:
        """How many of them are done with, those that raised included."""

    @property
    def dead_letters(self) -> int:
        """How many raised and were passed over."""

    @property
    def blocked(self) -> BaseException | None:
        """Why the next one could not be folded yet."""


Fold = Callable[[Sequence[Any]], Outcome]
"""The engine's fold over a table; its outputs are thrown away."""

Progress = Callable[[int, int], None]
"""Told how many records were folded, and how many there are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Folded:
    """How far the fold came: the last offset, -1 for an empty partition, and how many records it passed over."""

    position: int
    refused: int


async def fold_to_end(
    consumer: Any,
    tp: TopicPartition,
    fold: Fold,
    *,
    prepare: Callable[[], Awaitable[None]],
    progress: Progress | None = None,
) -> Folded:
    """Fold a partition from its first record to the end that it has now.

    `consumer` is started and has neither group nor assignment. `prepare` is awaited when the end is known and before
    the first record: it reads the documents, so that each one activated before the end is there. Raises AttuneError
    where records are gone, a document is missing, or nothing can be read.
    """
    begin = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    if begin:
        raise AttuneError(
            f"the first {begin:,} records of {tp.topic}/{tp.partition} are gone, so no state can be folded from it",
            "restore the journal from a copy; its retention must be for ever (`attune topics check`)",
        )
    await prepare()
    refused = done = 0
    consumer.assign([tp])
    consumer.seek(tp, begin)
    last = time.monotonic()
    while await consumer.position(tp) < end:
        fetched = (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, [])
        records = [record for record in fetched if record.offset < end]
        if records:
            outcome = fold(records)
            if outcome.blocked is not None:
                raise AttuneError(
                    f"{tp.topic}/{tp.partition} cannot be folded to its end: {outcome.blocked}",
                    "see what `attune lag` says of the fold, which waits for the same",
                ) from outcome.blocked
            refused += outcome.dead_letters
            done = records[-1].offset + 1
            last = time.monotonic()
        elif not fetched and time.monotonic() - last > _STILL_SECONDS:
            raise AttuneError(
                f"{tp.topic}/{tp.partition}: nothing could be read for {_STILL_SECONDS:.0f} s at {done:,} of {end:,}",
                "see whether every broker is up and the partition has a leader",
            )
        if progress is not None:
            progress(done, end)
    return Folded(end - 1, refused)
