"""One Kafka broker in KRaft mode on loopback."""

import base64
import os
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.errors import AttuneError
from agents.platform import jars, process
from agents.settings import made

_READY_SECONDS = 60.0
_API_VERSIONS = struct.pack(">ihhih", 14, 18, 0, 1, 4) + b"ping"
_JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",  # one node on a small machine
    "-XX:TieredStopAtLevel=1",  # starts half a second sooner
    "-Djava.awt.headless=true",
)
_LOG4J = """status = error
appender.file.type = Console
appender.file.name = out
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %c: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


class KafkaServer:
    """A broker whose data, configuration and log stand under `home`; it keeps its ports across restarts."""

    def __init__(
        self,
        home: Path,
        *,
        overrides: Mapping[str, str] | None = None,
        jvm: Sequence[str] = (),
        cluster: str | None = None,
    ) -> None:
        """Take the folder; `overrides` are server properties, `jvm` options, `cluster` the id that nodes share."""
        self.home = home.resolve()
        self.log = self.home / "kafka.log"
        self._overrides = dict(overrides or {})
        self._jvm = (*_JVM, *jvm)
        self._cluster = cluster or cluster_id()

    @property
    def mark(self) -> str:
        """What the broker's command line holds."""
        return str(self.home / "server.properties")

    def start(self, port: int, controller_port: int, *, attached: bool) -> int:
        """Start on these ports and wait until it answers; return the process id."""
        pid = self.launch(port, controller_port, attached=attached)
        self.wait(pid, port)
        return pid

    def wait(self, pid: int, port: int) -> None:
        """Wait until it answers, which it does once most of its cluster's controllers are there."""
        process.wait_ready("Kafka", pid, lambda: answers(port), self.log, seconds=_READY_SECONDS)

    def launch(self, port: int, controller_port: int, *, attached: bool) -> int:
        """Start on these ports and return the process id, without waiting."""
        with made(self.home):
            (self.home / "log4j2.properties").write_text(_LOG4J)
            Path(self.mark).write_text(self._properties(port, controller_port))
        classes = os.pathsep.join(str(jar) for jar in jars.class_path())
        java = [
            str(jars.java()),
            *self._jvm,
            f"-Dlog4j2.configurationFile={self.home / 'log4j2.properties'}",
            "-cp",
            classes,
        ]
        if not (self.home / "data" / "meta.properties").exists():
            self._format(java)
        return process.start([*java, "kafka.Kafka", self.mark], self.log, attached=attached, cwd=self.home).pid

    def _format(self, java: list[str]) -> None:
        command = [*java, "kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", self.mark]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            raise AttuneError(f"Kafka's storage under {self.home} could not be made: {done.stdout}{done.stderr}")

    def _properties(self, port: int, controller_port: int) -> str:
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.home / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A node that comes back within its old session waits for that to end: keep it short.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "log.cleaner.dedupe.buffer.size": "33554432",
            **self._overrides,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def cluster_id() -> str:
    """Return a random cluster id that does not begin with a dash: the storage tool would take it for an option."""
    first, *rest = os.urandom(16)
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).rstrip(b"=").decode()


def answers(port: int) -> bool:
    """Return whether a broker on loopback answers an ApiVersions request."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as connection:
            connection.settimeout(2.0)
            connection.sendall(_API_VERSIONS)
            return len(connection.recv(8)) == 8
    except OSError:
        return False
