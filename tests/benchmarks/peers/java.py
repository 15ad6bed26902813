"""Peers in Java: one class of this folder, compiled with the JDK on the PATH against jars of the broker's version."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from agents.errors import AttuneError
from agents.platform import jars
from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.peers.interpreter import HOME
from tests.benchmarks.runner import Missing

_COMPILE_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class JavaClass:
    """A class that is compiled against an `artifact` of Kafka's."""

    name: str
    artifact: str
    home: Path = HOME

    def ready(self) -> None:
        """Fetch the jars and compile, where the source or Kafka's version has changed.  Raises Missing."""
        compiler = shutil.which("javac")
        if compiler is None or shutil.which("java") is None:
            raise Missing("no JDK on the PATH")
        source = Path(__file__).parent / f"{self.name}.java"
        made_of = f"{hashlib.sha256(source.read_bytes()).hexdigest()} {self._endpoint} {compiler}"
        if self._compiled(made_of):
            return
        try:
            found = [str(jar) for jar in jars.resolve(self._endpoint)]
            self._classes.mkdir(parents=True, exist_ok=True)
            command = [compiler, "-d", self._classes, "-cp", os.pathsep.join(found), source]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS)
        except (OSError, subprocess.SubprocessError, AttuneError) as error:
            raise Missing(f"{self.artifact} could not be made ready: {' '.join(str(error).split())}") from error
        if done.returncode:
            raise Missing(f"{compiler} does not compile {source.name}: {' '.join(done.stderr.split())[:300]}")
        self._notes.write_text(json.dumps({"made_of": made_of, "class_path": found}))

    def command(self, assignment: Assignment) -> list[str]:
        known = [*json.loads(self._notes.read_text())["class_path"], str(self._classes)]
        given = [assignment.bootstrap, assignment.group, assignment.source, assignment.out, str(assignment.mark)]
        given += [f"{assignment.folder}/state", str(int(plain.COMMIT_SECONDS * 1_000))]
        return ["java", "-cp", os.pathsep.join(known), self.name, *given]

    @property
    def _endpoint(self) -> str:
        return f"org.apache.kafka:{self.artifact}:{jars.KAFKA_VERSION}"

    @property
    def _classes(self) -> Path:
        return self.home / self.artifact

    @property
    def _notes(self) -> Path:
        return self._classes / "made.json"

    def _compiled(self, made_of: str) -> bool:
        if not self._notes.exists():
            return False
        notes = json.loads(self._notes.read_text())
        return notes["made_of"] == made_of and all(Path(jar).exists() for jar in notes["class_path"])
