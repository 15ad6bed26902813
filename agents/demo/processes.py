"""The demo's processes: each role as an operator would start it, all of them on a leash."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from agents.errors import AttuneError
from agents.platform.leash import leashed
from agents.settings import Settings, variable

_STOP_SECONDS = 20.0


class Processes:
    """Commands of Attune that run beside this one; they end with it."""

    def __init__(self, settings: Settings, secret: bytes, logs: Path) -> None:
        """Take settings with real addresses; each process logs to a file in `logs`."""
        self._logs = logs
        self._logs.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._arguments: dict[str, tuple[str, ...]] = {}
        self._environment = {
            **os.environ,
            variable("kafka.bootstrap"): settings.kafka.bootstrap or "",
            variable("redis.url"): settings.redis.url or "",
            variable("home"): str(settings.home),
            variable("journal.clock"): "watermarks",
            variable("privacy.secret"): secret.decode(),
        }

    def start(self, name: str, *arguments: str) -> None:
        """Start `attune ARGUMENTS`."""
        command = leashed([sys.executable, "-m", "agents.cli.main", *arguments], death=signal.SIGKILL)
        self._arguments[name] = arguments
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self._environment
            )

    def check(self) -> None:
        """Start again what was killed; raise AttuneError if one has ended by itself, with the end of its log."""
        for name, process in list(self._running.items()):
            if (process.poll() or 0) < 0:
                self.start(name, *self._arguments[name])
            elif process.poll() is not None:
                tail = "\n".join(self._log(name).read_text(errors="replace").splitlines()[-8:])
                raise AttuneError(f"{name} ended with code {process.returncode}:\n{tail}", f"see {self._log(name)}")

    def stop(self, names: Sequence[str] | None = None) -> None:
        """End processes in order: SIGTERM, and SIGKILL for one that does not follow."""
        chosen = {name: self._running.pop(name) for name in names or list(self._running) if name in self._running}
        for process in chosen.values():
            process.terminate()
        for process in chosen.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `attune ARGUMENTS` to its end and return what it printed."""
        command = leashed([sys.executable, "-m", "agents.cli.main", *arguments])
        with self._log(name).open("ab") as log:
            return subprocess.run(  # noqa: S603 - our own command
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment, check=False
            )

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
