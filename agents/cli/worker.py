"""`attune worker`: the processes that do the work."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from agents.cli import context
from agents.settings import Settings

app = typer.Typer()
logger = logging.getLogger(__name__)

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 20.0


@app.command(
    "worker",
    epilog="Examples: `attune worker fold` runs one fold; `attune worker` runs every role and starts again what dies.",
)
def worker(
    role: Annotated[str | None, typer.Argument(help="router, fold or coordinator; all of them if left out")] = None,
    *,
    rebuild: Annotated[
        bool,
        typer.Option(help="fold every state again from the journal once, then go on as usual; stop other folds first"),
    ] = False,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C; it drains, commits and leaves its group."""
    from agents import workers

    if role is None:
        context.load()
        raise typer.Exit(_supervise(list(workers.ROLES)))
    if role not in workers.ROLES:
        raise typer.BadParameter(f"{role!r} is no role; choose from {', '.join(workers.ROLES)}", param_hint="role")
    settings = context.load()
    if role == "coordinator":
        raise typer.Exit(_coordinate(settings))
    build = workers.router if role == "router" else lambda found: workers.fold(found, rebuild=rebuild)
    raise typer.Exit(workers.run_app(build(settings)))


def _coordinate(settings: Settings) -> int:
    """Run the coordinator; 0 after a signal, 1 when a client failed, which a log line explains."""
    from aiokafka.errors import KafkaError

    from agents import workers

    async def run() -> None:
        task = asyncio.ensure_future(workers.coordinate(settings))
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
            "the coordinator ended: %s; nothing is lost, it goes on where it was: see whether Kafka answers at %s "
            "and has the topics (`attune topics check`), then run `attune worker coordinator` again",
            "; ".join(dict.fromkeys(str(cause) for cause in causes)),
            settings.kafka.bootstrap,
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


def _supervise(roles: list[str]) -> int:
    """Run each role as a process of its own and start again what ends; stop all on a signal."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stopping.append(received))
    running = {role: _start(role) for role in roles}
    while not stopping:
        time.sleep(0.2)
        for role, process in running.items():
            if process.poll() is not None and not stopping:
                sys.stderr.write(f"worker {role} ended with code {process.returncode}; starting it again\n")
                time.sleep(_RESTART_SECONDS)
                running[role] = _start(role)
    for process in running.values():
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in running.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
    return 0


def _start(role: str) -> subprocess.Popen[bytes]:
    from agents.platform.leash import leashed

    command = leashed([sys.executable, "-m", "agents.cli.main", "worker", role])
    return subprocess.Popen(command, env=dict(os.environ))  # noqa: S603 - our own command
