"""A worker of the main job of which one thing is not as it should be.

Run as `python -m tests.faults.altered_worker POINT NTH ROLE` it dies with code 9, as if the power had gone, when it
passes the point for the n-th time. With `clock SECONDS` for them its clock is wrong by so much, with `sequence-limit N`
it renews its producers after so many records of a partition.
"""

import functools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from agents import workers
from agents.cli import main as cli
from agents.engine import partition, transport

_CODE = 9


def _dying(work: Callable[..., Awaitable[Any]], nth: int, *, before: bool) -> Callable[..., Awaitable[Any]]:
    left = [nth]

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if before and left[0] <= 0:
            os._exit(_CODE)
        result = await work(*args, **kwargs)
        if left[0] <= 0:
            os._exit(_CODE)
        return result

    return wrapped


def arm(what: str, value: int) -> None:
    """Make the process die at a point (before-outputs, after-outputs, after-changelog, after-commit), or alter it."""
    if what == "before-outputs":
        partition.send_all = _dying(partition.send_all, value, before=True)
    elif what == "after-outputs":
        partition.send_all = _dying(partition.send_all, value, before=False)
    elif what == "after-changelog":
        one = partition.Partition
        one._write_changelog = _dying(one._write_changelog, value, before=False)  # type: ignore[method-assign]
    elif what == "after-commit":
        thread = transport.ConsumerThread
        thread._commit = _dying(thread._commit, value, before=False)
    elif what == "clock":
        right = time.time
        time.time = lambda: right() + value
    elif what == "sequence-limit":
        workers.KafkaLog = functools.partial(workers.KafkaLog, sequence_limit=value)  # type: ignore[misc, assignment]
    else:
        raise SystemExit(f"no such alteration: {what}")


def main() -> None:
    """Arm it, then be `attune worker ROLE`."""
    what, value, role = sys.argv[1:]
    arm(what, int(value))
    sys.argv = ["attune", "worker", role]
    cli.main()


if __name__ == "__main__":
    main()
