"""`attune replay` that dies by SIGKILL, parent first, when a part is added to for the n-th time.

Run as `python -m tests.agents.history.crashing_replay NTH MARKED ARGUMENT...`. With MARKED 1 the checkpoint is written
at each addition, and death comes before the n-th one is; with 0 no checkpoint is ever written. What is spawned runs
this module's top, too, so that its workers are armed.
"""

import os
import signal
import sys
from typing import Any

from agents.cli import main as cli
from agents.history.part import Part

_ADD = Part.add


def arm(nth: int, *, marked: bool) -> None:
    """Make this process, its parent first, die at the n-th addition to any part."""
    left = [nth]

    def add(part: Part, content: bytes, **more: Any) -> None:
        part._next_time = float("inf")
        _ADD(part, content, **more)
        left[0] -= 1
        if left[0] <= 0:
            part._file.flush()  # torn: it stands in the part, and no checkpoint counts it
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        if marked:
            part.mark()

    Part.add = add  # type: ignore[method-assign]


if __name__ == "__main__":
    os.environ["CRASHING_REPLAY"] = " ".join(sys.argv[1:3])
    sys.argv = ["attune", *sys.argv[3:]]
    cli.main()
else:
    _nth, _marked = os.environ["CRASHING_REPLAY"].split()
    arm(int(_nth), marked=_marked == "1")
