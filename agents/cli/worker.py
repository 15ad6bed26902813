"""`attune worker`: the processes that do the work."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli import connect, context
from agents.settings import Settings, variable

if TYPE_CHECKING:
    from agents.metrics import Gate

app = typer.Typer()
logger = logging.getLogger(__name__)

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 20.0


@app.command(
    "worker",
    epilog="Examples: `attune worker fold` runs one fold; `attune worker` runs every role and starts again what dies.",
)
def worker(
    role: Annotated[
        str | None, typer.Argument(help="router, fold, coordinator or views; all of them if left out")
    ] = None,
    *,
    rebuild: Annotated[
        bool,
        typer.Option(help="fold every state again from the journal once, then go on as usual; stop other folds first"),
    ] = False,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C; it drains, commits and leaves its group.

    With the setting metrics.port it serves /metrics there; all roles together take port, port + 1 ... in their order.
    """
    from agents import metrics, workers

    if role is None:
        raise typer.Exit(_supervise(metrics.ports(context.load().metrics, workers.ROLES)))
    if role not in workers.ROLES:
        raise typer.BadParameter(f"{role!r} is no role; choose from {', '.join(workers.ROLES)}", param_hint="role")
    settings = context.load() if role in workers.WITH_REDIS else connect.kafka_settings()
    gate = metrics.Gate("its clients of Kafka are not all connected yet")
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has no default
    try:
        with metrics.served(settings.metrics, role, waits=gate):
            raise typer.Exit(_work(role, settings, gate, rebuild=rebuild))
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(role: str, settings: Settings, gate: "Gate", *, rebuild: bool) -> int:
    """Run one role; return the exit code."""
    from agents import metrics, workers

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # it leaves the loop of Faust's alone
        runner.run(workers.check_access(settings, role))
        partitions = runner.run(workers.journal_partitions(settings)) if role == "router" else 0
    if role == "coordinator":
        return _run(role, settings, workers.coordinate(settings, gate))
    if role == "views":
        return _run(role, settings, workers.keep_views(settings, gate))
    if role == "router":
        app = workers.router(settings, partitions=partitions)
    else:
        app = workers.fold(settings, rebuild=rebuild)
    with metrics.collected(settings.metrics, workers.collector(role, app)):
        gate.open(lambda: workers.waits(app))
        return workers.run_app(app)


def _run(role: str, settings: Settings, work: Coroutine[Any, Any, None]) -> int:
    """Run a role that is no Faust app; 0 after a signal, 1 when a client failed, which a log line explains."""
    from aiokafka.errors import KafkaError

    async def run() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    try:
        asyncio.run(run())
    except (KafkaError, OSError, ExceptionGroup) as error:
        causes = list(_causes(error))
        if not all(isinstance(cause, KafkaError | OSError) for cause in causes):
            raise  # no trouble of a client, a bug: its stack is wanted
        logger.error(
            "the %s ended: %s; nothing is lost, it goes on where it was: see whether Kafka answers at %s "
            "and has the topics (`attune topics check`), then run `attune worker %s` again",
            role,
            "; ".join(dict.fromkeys(str(cause) for cause in causes)),
            settings.kafka.bootstrap,
            role,
        )
        return 1
    return 0


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what stands in groups of errors, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def _supervise(ports: Mapping[str, int | None]) -> int:
    """Run each role as a process of its own and start again what ends; stop all on a signal.

    `ports` has the roles, and of each the port of its metrics.
    """
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stopping.append(received))
    sys.stderr.write(
        f"starting {', '.join(ports)}; each logs JSON lines here; Ctrl-C ends them all; `attune lag` shows their work\n"
    )
    running = {role: _start(role, port) for role, port in ports.items()}
    while not stopping:
        time.sleep(0.2)
        for role, process in running.items():
            if process.poll() is not None and not stopping:
                sys.stderr.write(f"worker {role} ended with code {process.returncode}; starting it again\n")
                time.sleep(_RESTART_SECONDS)
                running[role] = _start(role, ports[role])
    for process in running.values():
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in running.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
    return 0


def _start(role: str, metrics_port: int | None) -> subprocess.Popen[bytes]:
    from agents.platform.leash import leashed

    environment = dict(os.environ)
    if metrics_port is not None:
        environment[variable("metrics.port")] = str(metrics_port)
    command = leashed([sys.executable, "-m", "agents.cli.main", "worker", role])
    return subprocess.Popen(command, env=environment)  # noqa: S603 - our own command
