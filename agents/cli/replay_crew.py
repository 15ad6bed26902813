"""The processes of a replay: partitions go out to whoever is free, the largest first."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from agents.cli.replay_worker import Assignment, Done, Failed, Progress, work
from agents.errors import AttuneError, UsageError
from agents.history.plan import Range

_END_SECONDS: Final = 10.0

Told = Callable[[Progress | Done], None]
"""Told of every step of a worker."""


def replay(assignment: Assignment, tasks: Sequence[Range], jobs: int, told: Told) -> None:
    """Have so many processes do all tasks; return when the last one is done.

    Raises what a worker failed with, as AttuneError or UsageError; then, and when interrupted, all have ended.
    """
    folds = assignment.selection.folds
    waiting = sorted(tasks, key=lambda task: (task.records(folds=folds), -task.partition))
    context = multiprocessing.get_context("spawn")  # a forked child would share the parent's event loop and locks
    crew: dict[Connection, Any] = {}
    try:
        for _ in range(min(jobs, len(waiting))):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, assignment), name="attune replay", daemon=True)
            process.start()
            theirs.close()  # else its death would not be seen at our end
            crew[ours] = process
            ours.send(waiting.pop())
        busy = set(crew)
        while busy:
            for pipe in wait(busy):
                assert isinstance(pipe, Connection)
                message = _heard(pipe, crew[pipe])
                told(message)
                if isinstance(message, Done):
                    ours = pipe
                    if waiting:
                        ours.send(waiting.pop())
                    else:
                        ours.send(None)
                        busy.remove(pipe)
        for process in crew.values():
            process.join(_END_SECONDS)
    finally:
        for pipe, process in crew.items():
            pipe.close()
            if process.is_alive():
                process.kill()
            process.join()
            process.close()


def _heard(pipe: Connection, process: Any) -> Progress | Done:
    try:
        message: Progress | Done | Failed = pipe.recv()
    except EOFError:
        process.join(_END_SECONDS)
        raise AttuneError(
            f"a process of the replay ended by itself with {process.exitcode}",
            "see what it wrote above; if it was killed for memory, try --jobs 1",
        ) from None
    if isinstance(message, Failed):
        raise (UsageError if message.is_usage else AttuneError)(message.message, message.hint)
    return message
