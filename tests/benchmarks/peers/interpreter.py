"""Peers in Python: an interpreter of their own, made from `requirements.lock` the first time one is asked for."""

import dataclasses
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from tests.benchmarks.assignment import Assignment
from tests.benchmarks.runner import Missing
from tests.benchmarks.stopwatch import ROOT

LOCK = Path(__file__).parent / "requirements.lock"
HOME = ROOT / ".attune" / "peers"
"""What is made for peers lies here; git ignores it, and it may be deleted at any time."""
_INSTALL_SECONDS = 900


@dataclasses.dataclass(frozen=True)
class PeerModule:
    """A module of this folder that runs in the peers' interpreter and `needs` a package of it."""

    module: str
    needs: str
    lock: Path = LOCK
    home: Path = HOME

    def ready(self) -> None:
        """Make the interpreter.  Raises Missing."""
        self._install()
        if subprocess.run([self._python, "-c", f"import {self.needs}"], capture_output=True, check=False).returncode:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise Missing(f"{self.needs} cannot be imported on {sys.platform} with Python {version}")

    def command(self, assignment: Assignment) -> list[str]:
        return [str(self._python), "-m", f"tests.benchmarks.peers.{self.module}", assignment.dumps()]

    @property
    def _python(self) -> Path:
        return self.home / "python" / "bin" / "python"

    def _install(self) -> None:
        stamp = self.home / "python" / "installed"
        made_of = f"{hashlib.sha256(self.lock.read_bytes()).hexdigest()} {sys.version}"
        if stamp.exists() and stamp.read_text() == made_of:
            return
        print(f"making an interpreter for the peers in {self.home}", file=sys.stderr, flush=True)
        install = [sys.executable, "-m", "pip", "--python", self._python, "--quiet", "--disable-pip-version-check"]
        install += ["install", "--require-hashes", "--only-binary", ":all:", "--requirement", self.lock]
        try:
            venv.create(self.home / "python", clear=True)  # our pip fills it
            done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise Missing(f"no interpreter for peers in {self.home}: {error}") from error
        if done.returncode:
            why = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "pip does not say why")
            raise Missing(f"the packages of {self.lock.name} could not be installed: {why}")
        stamp.write_text(made_of)
