"""The clock of a partition: event time, moved by ticks and by producers' watermarks, never by the wall."""

from typing import Final

from streams.errors import BadEvent
from streams.partition import Partition

DAY_MS: Final = 86_400_000
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01; nothing older is an event that happened."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01; nothing newer is believed of anybody, since a clock that stands there never comes back."""
AHEAD_MS: Final = 2 * DAY_MS
"""So far ahead of the clock an event may be: zones and clocks an hour wrong, not more."""


def tick(partition: Partition, time_ms: int) -> bool:
    """Move the clock to a tick's time; a tick that is not newer does nothing. Returns whether it moved.

    Raises BadEvent for an absurd time.
    """
    _check(time_ms, "a tick", "correct the clock of the coordinator")
    if time_ms <= partition.clock_ms:
        return False
    partition.clock_ms = time_ms
    return True


def watermark(partition: Partition, origin: str, time_ms: int, partitions: int) -> None:
    """Keep the watermark of one origin partition; the clock is their minimum once all have reported.

    `origin` is `<topic>/<partition>`; `partitions` how many of them that topic has. Raises BadEvent for an absurd time.
    """
    _check(time_ms, "a watermark", "correct the clock of its producer")
    marks = partition.watermarks
    if time_ms > marks.get(origin, 0):
        marks[origin] = time_ms
    topic = origin.rpartition("/")[0] + "/"
    reported = [time for name, time in marks.items() if name.startswith(topic)]
    if len(reported) >= partitions:
        tick(partition, min(reported))


def now(partition: Partition, occurred_at: int, origin: str) -> int:
    """Return what time it is at an event: the clock, or the event where it is newer.

    An event of an origin that sends watermarks is judged by that origin's own: origins of one
    backlog are copied at different speeds, and the clock is only their minimum.  Raises BadEvent
    for an absurd time.
    """
    clock_ms = partition.clock_ms
    if occurred_at < EARLIEST_MS:
        raise BadEvent(f"occurred_at {occurred_at} ms is before the year 2000; send milliseconds since 1970, UTC")
    if occurred_at <= clock_ms:
        return clock_ms
    if occurred_at > LATEST_MS:
        _check(occurred_at, "occurred_at", "send milliseconds since 1970, UTC")
    known_ms = max(clock_ms, partition.watermarks.get(origin, 0))
    if known_ms and occurred_at > known_ms + AHEAD_MS:
        raise BadEvent(
            f"occurred_at {occurred_at} ms is {(occurred_at - known_ms) // DAY_MS} days ahead of the partition's "
            f"clock ({known_ms} ms); correct the source's clock, or publish watermarks if it keeps its own time"
        )
    return occurred_at


def newest(partition: Partition) -> int:
    """Return the newest time that a tick or any origin's watermark told; 0 where none did. It never goes back."""
    return max(partition.clock_ms, max(partition.watermarks.values(), default=0))


def _check(time_ms: int, what: str, remedy: str) -> None:
    if time_ms > LATEST_MS:
        raise BadEvent(f"{what} of {time_ms} ms is after the year 2099; {remedy}")
