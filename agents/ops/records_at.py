"""Records by their place: one of each partition, read by a consumer without a group."""

import time
from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

SECONDS = 3.0


async def records_at(
    consumer: Any, wanted: Mapping[TopicPartition, int], *, seconds: float = SECONDS
) -> dict[TopicPartition, Any]:
    """Return of each partition the first record at or behind an offset.

    What does not come in time is left out, and so is an offset outside the log: it was deleted, or never was.
    The consumer is aiokafka's, started, with neither group nor subscription, and used by nobody else meanwhile.
    """
    found: dict[TopicPartition, Any] = {}
    if not wanted:
        return found
    consumer.assign(list(wanted))
    for tp, offset in wanted.items():
        consumer.seek(tp, offset)
    left = set(wanted)
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        try:
            # One record at a time: of a batch that holds a thousand only the first is then built.
            fetched = await consumer.getmany(*left, timeout_ms=200, max_records=1)
        except OffsetOutOfRangeError as error:
            left -= set(error.args[0])
            continue
        for tp, records in fetched.items():
            found[tp] = records[0]
            left.discard(tp)
    # No unsubscribe: aiokafka's fetcher dies of it when an assignment follows at once.  The next look assigns anew.
    return found
