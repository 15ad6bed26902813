"""A leash for child processes: they die with their parent, also when it is killed with SIGKILL.

`leashed([...])` returns a command that first ties itself to its parent and then becomes the real
one.  On Linux the kernel does it (PR_SET_PDEATHSIG; it watches the parent's *thread*, so start
children from one that lives, the main thread).  Elsewhere a small process stays between and looks
every half second whether its parent has changed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.5


def leashed(command: Sequence[str], *, death: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return a command that runs `command` and gets the signal `death` when this process dies."""
    return [sys.executable, "-m", "agents.platform.leash", str(os.getpid()), str(int(death)), *command]


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, death, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death)
        if os.getppid() != parent:  # it died before the kernel was told
            sys.exit(1)
        os.execvp(command[0], command)  # noqa: S606 - our own command
    sys.exit(_watch(parent, death, command))


def _watch(parent: int, death: int, command: list[str]) -> int:
    child = subprocess.Popen(command)  # noqa: S603 - our own command
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    while child.poll() is None:
        if os.getppid() != parent:
            child.send_signal(death)
        time.sleep(_POLL_SECONDS)
    return child.returncode


if __name__ == "__main__":
    main()
