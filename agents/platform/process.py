"""Server processes: started with a log file, recognised again later, stopped in order."""

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.errors import AttuneError
from agents.platform.leash import leashed

_POLL_SECONDS = 0.05
_FIRST_PORT = 10_240
_PORT_TRIES = 200
_CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_MACOS_FIRST_CLIENT_PORT = 49_152
_children: dict[int, subprocess.Popen[bytes]] = {}
"""What this process started and has not seen end."""


@atexit.register
def _let_detached_live() -> None:
    """Detached servers are meant to outlive this process: no warning that they still run."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def free_port() -> int:
    """Return a loopback port that nobody listens on now and that is not of those handed to clients.

    A server that is to come back on its port needs that: while it is away, its own clients try to connect hundreds of
    times a second, and sooner or later the system gives one of them that very port to connect from.
    """
    for _ in range(_PORT_TRIES):
        port = random.randrange(_FIRST_PORT, _first_client_port())  # noqa: S311 - no secret
        if is_free(port):
            return port
    raise AttuneError(f"no free port between {_FIRST_PORT} and {_first_client_port()} in {_PORT_TRIES} tries")


def is_free(port: int) -> bool:
    """Return whether a loopback port can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _first_client_port() -> int:
    try:
        first = int(_CLIENT_PORTS.read_text().split()[0])
    except OSError:
        first = _MACOS_FIRST_CLIENT_PORT
    return max(first, 2 * _FIRST_PORT)


def start(command: Sequence[str], log: Path, *, attached: bool, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a server; attached ones die with this process, detached ones outlive it."""
    if attached and threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start attached servers from the main thread: the leash watches the thread that starts them")
    with log.open("ab") as out:
        child = subprocess.Popen(  # noqa: S603 - our own command
            leashed(command, death=signal.SIGKILL) if attached else list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )
    _children[child.pid] = child
    return child


def wait_ready(name: str, pid: int, ready: Callable[[], bool], log: Path, *, seconds: float) -> None:
    """Wait until a server answers; AttuneError with the end of its log if it ends or stays silent, which ends it."""
    deadline = time.monotonic() + seconds
    while not ready():
        reap(pid)
        if not is_alive(pid):
            raise AttuneError(f"{name} ended while it started:\n{_tail(log)}", f"see {log}")
        if time.monotonic() > deadline:
            stop(pid, kill=True)
            raise AttuneError(f"{name} did not answer within {seconds:.0f} s:\n{_tail(log)}", f"see {log}")
        time.sleep(_POLL_SECONDS)


def stop(pid: int, *, seconds: float = 30.0, kill: bool = False) -> None:
    """End a process and wait until it is gone: SIGTERM, then SIGKILL after a while (or at once)."""
    deadline = time.monotonic() + (0.0 if kill else seconds)
    sent: signal.Signals | None = None
    while is_alive(pid):
        wanted = signal.SIGKILL if time.monotonic() >= deadline else signal.SIGTERM
        if wanted is not sent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, wanted)
            sent = wanted
        time.sleep(_POLL_SECONDS)
    reap(pid)


def reap(pid: int) -> None:
    """Collect the exit status of a child that has ended, so that it does not stay as a zombie."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def is_alive(pid: int) -> bool:
    """Return whether a process exists and has not ended.

    A killed server whose first thread has ended holds its ports for as long as one of its other threads is left.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    entry = Path(f"/proc/{pid}")
    try:
        if not (entry / "stat").exists():
            return True
        ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return not ended or len(list((entry / "task").iterdir())) > 1
    except OSError:
        return False


def runs(pid: int | None, mark: str) -> bool:
    """Return whether a process is alive and is the one that was started: its command line holds `mark`."""
    if pid is None or not is_alive(pid):
        return False
    line = Path(f"/proc/{pid}/cmdline")
    if line.exists():
        return mark.encode() in line.read_bytes()
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603, S607
    return mark.encode() in shown.stdout


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"
