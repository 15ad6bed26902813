"""An event loop whose time is simulated, and the processes in it, which can be frozen and killed.

Every callback belongs to the process in whose context it was scheduled, or to the world outside of them. A frozen
process runs nothing until it thaws, though its timers go off; a killed one never runs again, not even its `finally`.
"""

import asyncio
import collections
import contextvars
import dataclasses
import heapq
import itertools
from collections.abc import Callable, Coroutine, Generator
from typing import Any

MOST_STEPS = 400_000
"""A run that takes more callbacks does not come to rest."""


class Restless(AssertionError):
    """The run does not end: nothing is left to do, or there is always more to do."""


@dataclasses.dataclass(eq=False)
class Process:
    """One operating system process."""

    name: str
    frozen: bool = False
    dead: bool = False
    parked: list[asyncio.Handle] = dataclasses.field(default_factory=list)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Loop(asyncio.AbstractEventLoop):
    """As much of an event loop as asyncio's tasks, futures and time-outs need."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: collections.deque[tuple[Process | None, asyncio.Handle]] = collections.deque()
        self._timers: list[tuple[float, int, Process | None, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[Any]] = set()  # strong: what a dead process held must not be collected meanwhile
        self._steps = 0
        self._never_run: list[asyncio.Handle] = []
        """Of dead processes."""
        self._processes: set[Process] = set()
        self.unhandled: list[str] = []
        """What ended in no task that anybody awaits."""

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context  # an empty one is false
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((context.get(PROCESS), handle))
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context  # an empty one is false
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), context.get(PROCESS), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run the world's own coroutine to its end, then end everything else."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
            task.result()
        finally:
            self._bury()
            asyncio._set_running_loop(None)

    def freeze(self, process: Process) -> None:
        """Let a process run nothing."""
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """Let a process go on where it was."""
        process.frozen = False
        self._ready.extend((process, handle) for handle in process.parked)
        process.parked.clear()

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Restless(f"no rest after {MOST_STEPS} callbacks")
        if not self._ready:
            self._advance()
        process, handle = self._ready.popleft()
        if handle.cancelled():
            return
        if process is not None and (process.dead or process.frozen):
            (self._never_run if process.dead else process.parked).append(handle)
            self._processes.add(process)
            return
        handle._run()

    def _advance(self) -> None:
        """Go on to the next timer."""
        while self._timers:
            when, _, process, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._now = max(self._now, when)
                self._ready.append((process, handle))
                return
        raise Restless("nothing is left to happen")

    def _bury(self) -> None:
        """Cancel what is left, of dead processes too, so that nothing is collected in the middle of a later run."""
        left = [*self._never_run, *(handle for process in self._processes for handle in process.parked)]
        self._ready.extend((None, handle) for handle in left)
        self._timers.clear()
        for task in list(self._tasks):
            task.cancel()
        for _ in range(MOST_STEPS):
            if not self._ready and not self._timers:
                break
            handle = self._ready.popleft()[1] if self._ready else heapq.heappop(self._timers)[3]
            if not handle.cancelled():
                handle._run()
        assert not self._tasks, f"{len(self._tasks)} tasks do not end"
