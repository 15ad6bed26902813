"""A worker of the main job that dies at a chosen point, as if the power had gone.

Run as `python -m tests.faults.crashing_worker POINT NTH ROLE`; it dies with code 9 when it passes the point for the
n-th time.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

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


def arm(point: str, nth: int) -> None:
    """Make the process die at a point: before-outputs, after-outputs, after-changelog, after-commit."""
    if point == "before-outputs":
        partition.send_all = _dying(partition.send_all, nth, before=True)
    elif point == "after-outputs":
        partition.send_all = _dying(partition.send_all, nth, before=False)
    elif point == "after-changelog":
        one = partition.Partition
        one._write_changelog = _dying(one._write_changelog, nth, before=False)  # type: ignore[method-assign]
    elif point == "after-commit":
        thread = transport.ConsumerThread
        thread._commit = _dying(thread._commit, nth, before=False)
    else:
        raise SystemExit(f"no such point: {point}")


def main() -> None:
    """Arm the point, then be `attune worker ROLE`."""
    point, nth, role = sys.argv[1:]
    arm(point, int(nth))
    sys.argv = ["attune", "worker", role]
    cli.main()


if __name__ == "__main__":
    main()
