"""The embedded platform: Kafka, Valkey and, where it is asked for, a schema registry under one folder.

A state file remembers them.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from agents.errors import AttuneError
from agents.platform import apicurio, process
from agents.platform.apicurio import ApicurioServer
from agents.platform.kafka import KafkaServer
from agents.platform.valkey import ValkeyServer
from agents.settings import made


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """Where the platform is reached and whether its servers run; `registry_url` is None where none was started."""

    home: str
    bootstrap: str
    redis_url: str
    registry_url: str | None
    kafka_pid: int | None
    valkey_pid: int | None
    registry_pid: int | None

    @property
    def running(self) -> bool:
        """Whether Kafka and Valkey run, which is what commands need."""
        return self.kafka_pid is not None and self.valkey_pid is not None

    @property
    def complete(self) -> bool:
        """Whether everything runs that was started."""
        return self.running and (self.registry_url is None or self.registry_pid is not None)


@dataclasses.dataclass(slots=True)
class _State:
    kafka_port: int = 0
    controller_port: int = 0
    valkey_port: int = 0
    registry: bool = False
    registry_port: int = 0
    registry_management_port: int = 0
    kafka_pid: int | None = None
    valkey_pid: int | None = None
    registry_pid: int | None = None


class LocalPlatform:
    """A platform with its data under `home/platform`.

    Attached servers die with this process, also when it is killed; detached ones stay until
    `stop`.  Data and ports are kept, so a restart finds both.
    """

    def __init__(self, home: Path, *, broker: Mapping[str, str] | None = None) -> None:
        """Take the folder; `broker` overrides server properties of Kafka."""
        self.folder = Path(home).resolve() / "platform"
        self._kafka = KafkaServer(self.folder / "kafka", overrides=broker)
        self._valkey = ValkeyServer(self.folder / "valkey")
        self._registry = ApicurioServer(self.folder / "registry")
        self._file = self.folder / "state.json"

    @property
    def bootstrap(self) -> str:
        """Address of Kafka; fixed after the first start."""
        return self.status().bootstrap

    @property
    def redis_url(self) -> str:
        """Address of Valkey; fixed after the first start."""
        return self.status().redis_url

    @property
    def logs(self) -> tuple[Path, ...]:
        """Log files of Kafka, Valkey and, where one was started, the registry."""
        return self._kafka.log, self._valkey.log, *((self._registry.log,) if self._read().registry else ())

    def start(self, *, detached: bool = False, registry: bool = False) -> Status:
        """Start what does not run and wait until it answers.  Raises AttuneError saying what to do.

        A registry is started where it is asked for, and again by later starts until `stop`.
        """
        with self._locked() as state:
            if not process.runs(state.kafka_pid, self._kafka.mark):
                self._start_kafka(state, attached=not detached)
            if not process.runs(state.valkey_pid, self._valkey.mark):
                state.valkey_port = _port(state.valkey_port)
                state.valkey_pid = self._valkey.start(state.valkey_port, attached=not detached)
            state.registry |= registry
            if state.registry and not process.runs(state.registry_pid, self._registry.mark):
                state.registry_port = _port(state.registry_port)
                state.registry_management_port = _port(state.registry_management_port)
                state.registry_pid = self._registry.start(
                    state.registry_port, state.registry_management_port, attached=not detached
                )
            return self._status(self._seen(state))

    def stop(self) -> bool:
        """Stop all servers; return whether any ran."""
        with self._locked() as state:
            ran = False
            for pid, mark in (
                (state.registry_pid, self._registry.mark),
                (state.valkey_pid, self._valkey.mark),
                (state.kafka_pid, self._kafka.mark),
            ):
                if pid is not None and process.runs(pid, mark):
                    process.stop(pid)
                    ran = True
            state.kafka_pid = state.valkey_pid = state.registry_pid = None
            state.registry = False
            return ran

    def status(self) -> Status:
        """Return what runs now."""
        return self._status(self._seen(self._read()))

    def stop_broker(self, *, kill: bool = False) -> None:
        """Stop Kafka alone, with SIGKILL if `kill`; its data and port stay."""
        with self._locked() as state:
            if state.kafka_pid is not None:
                process.stop(state.kafka_pid, kill=kill)
            state.kafka_pid = None

    def start_broker(self) -> None:
        """Start Kafka again on the same data and port, attached.  AttuneError if another has taken the port."""
        with self._locked() as state:
            if not process.is_free(state.kafka_port):
                raise AttuneError(f"port {state.kafka_port} is taken, and the broker's clients know no other")
            self._start_kafka(state, attached=True)

    def freeze_broker(self, *, frozen: bool) -> None:
        """Freeze Kafka (SIGSTOP) or thaw it."""
        pid = self.status().kafka_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def _start_kafka(self, state: _State, *, attached: bool) -> None:
        state.kafka_port = _port(state.kafka_port)
        state.controller_port = _port(state.controller_port)
        state.kafka_pid = self._kafka.start(state.kafka_port, state.controller_port, attached=attached)

    def _seen(self, state: _State) -> _State:
        """Return the state without the servers that have ended."""
        return dataclasses.replace(
            state,
            kafka_pid=state.kafka_pid if process.runs(state.kafka_pid, self._kafka.mark) else None,
            valkey_pid=state.valkey_pid if process.runs(state.valkey_pid, self._valkey.mark) else None,
            registry_pid=state.registry_pid if process.runs(state.registry_pid, self._registry.mark) else None,
        )

    def _status(self, state: _State) -> Status:
        return Status(
            home=str(self.folder.parent),
            bootstrap=f"127.0.0.1:{state.kafka_port}",
            redis_url=f"redis://127.0.0.1:{state.valkey_port}/0",
            registry_url=apicurio.url_of(state.registry_port) if state.registry else None,
            kafka_pid=state.kafka_pid,
            valkey_pid=state.valkey_pid,
            registry_pid=state.registry_pid,
        )

    def _read(self) -> _State:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return _State(**json.loads(self._file.read_text()))
        return _State()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[_State]:
        """Yield the state alone among processes; what was changed is kept, also after an error."""
        with made(self.folder):
            file = (self.folder / "lock").open("w")
        with file as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._read()
            try:
                yield state
            finally:
                fresh = self._file.with_suffix(".new")
                fresh.write_text(json.dumps(dataclasses.asdict(state)))
                fresh.replace(self._file)


def _port(kept: int) -> int:
    """Return the port used before if it is still free, else another."""
    return kept if kept and process.is_free(kept) else process.free_port()
