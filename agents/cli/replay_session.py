"""One replay from beginning to end: plan, processes, progress, and what they gave out put together."""

import asyncio
import dataclasses
import filecmp
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from agents.cli import folding, replay_text
from agents.cli.bar import bar
from agents.cli.replay_crew import replay
from agents.cli.replay_options import Request
from agents.cli.replay_plan import settle
from agents.cli.replay_worker import Assignment, Done, Progress
from agents.errors import AttuneError, UsageError
from agents.history import container
from agents.history.part import Checkpoint, part_path, read_checkpoint
from agents.history.plan import Folder, Plan, Range
from agents.settings import Settings

_RECORDS_OF_A_START: Final = 20_000


@dataclasses.dataclass(slots=True)
class Session:
    """A replay whose work is kept in `folder`; only one at a time may be there."""

    settings: Settings
    request: Request
    folder: Path
    jobs: int | None
    """Processes at once; None lets the number of records and of cores decide."""
    json: bool
    _read: int = dataclasses.field(default=0, init=False)
    _cpu_seconds: float = dataclasses.field(default=0.0, init=False)
    _processes: int = dataclasses.field(default=0, init=False)

    def run(self) -> None:
        """Do what is left to do and report it; raises AttuneError and UsageError."""
        began = time.monotonic()
        folder = Folder(self.folder)
        try:
            plan, topic_partitions = self._plan(folder)
            left = [] if plan.complete else [task for task in plan.ranges if not self._mark(task).done]
            if not plan.complete:
                self._fold(plan, left, topic_partitions)
                self._raise_if_unknown(plan)
                folder.keep(msgspec.structs.replace(plan, complete=True, size=self._put_together(plan)))
                self._clear(plan)
            self._raise_if_gone(plan)
            self._report(plan, time.monotonic() - began)
        finally:
            folder.close()

    def _plan(self, folder: Folder) -> tuple[Plan, int]:
        words = {**self.request.words, "release": folding.release()}
        begun = folder.plan(words)
        file = self.request.target.file
        if begun is None and file is not None and file.exists():
            raise UsageError(f"{file} exists", "name a new file, or remove it first")
        plan, topic_partitions = asyncio.run(settle(self.settings, self.request, words, begun))
        folder.keep(plan)
        return plan, topic_partitions

    def _mark(self, task: Range) -> Checkpoint:
        return read_checkpoint(self.folder, task.partition)

    def _fold(self, plan: Plan, left: Sequence[Range], topic_partitions: int) -> None:
        selection = dataclasses.replace(self.request.selection, since_ms=plan.since_ms, until_ms=plan.until_ms)
        assignment = Assignment(
            self.settings,
            selection,
            self.folder,
            self.request.target.topic,
            topic_partitions,
            self._marker(plan),
            self.request.batch,
        )
        target_is_read = self.request.target.is_screen and not self.json
        total = sum(task.records(folds=selection.folds) for task in left)
        read = {task.partition: 0 for task in left}
        in_order = _InOrder([task.partition for task in plan.ranges], set(read), self._show)
        with bar("folding the journal" if selection.folds else "reading the journal") as shown:

            def told(message: Progress | Done) -> None:
                read[message.partition] = message.read
                if isinstance(message, Done):
                    self._read += message.read
                    self._cpu_seconds += message.cpu_seconds
                    in_order.done(message.partition)
                if shown is not None:
                    shown(sum(read.values()), total)

            if target_is_read:
                replay_text.print_head()
            in_order.go_on()
            self._processes = min(len(left), self.jobs or _worth_starting(total))
            replay(assignment, left, self._processes, told)

    def _raise_if_unknown(self, plan: Plan) -> None:
        customers = self.request.selection.customers
        if customers is None or not self.request.selection.folds:
            return
        met = {key for task in plan.ranges for key in self._mark(task).met}
        if unknown := sorted(customers - met):
            raise AttuneError(
                f"the journal knows no customer {', '.join(unknown)} up to the end of the range",
                "see that the key is written as the channels write it, and that privacy.secret is the workers' "
                "(`attune settings`)",
            )

    def _marker(self, plan: Plan) -> bytes | None:
        """Return the sync marker of an Avro container, None for JSON lines."""
        file = self.request.target.file
        if file is None or file.suffix != container.SUFFIX:
            return None
        return container.sync_marker(msgspec.json.encode(plan.request, order="sorted"))

    def _show(self, partition: int) -> None:
        """Print what came of one partition: the screen alone need not wait until all are done."""
        if not self.request.target.is_screen:
            return
        with part_path(self.folder, partition).open("rb") as part:
            if self.json:
                replay_text.pass_on(part)
            else:
                replay_text.print_lines(part)

    def _put_together(self, plan: Plan) -> int | None:
        """Make the file of the parts; it appears when it is whole and on disk. Returns its size."""
        file = self.request.target.file
        if file is None:
            return None
        marker = self._marker(plan)
        fresh = file.with_name(file.name + ".new")
        with fresh.open("wb") as out:
            if marker is not None:
                out.write(container.head(marker))
            for task in plan.ranges:
                with part_path(self.folder, task.partition).open("rb") as part:
                    shutil.copyfileobj(part, out)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        if file.exists() and not filecmp.cmp(fresh, file, shallow=False):  # the same is ours, of a run that was killed
            fresh.unlink()
            raise UsageError(f"{file} was made by somebody else meanwhile", "move it away and run this again")
        fresh.replace(file)
        _sync_folder(file.absolute().parent)
        return size

    def _raise_if_gone(self, plan: Plan) -> None:
        """Raise AttuneError where a replay was complete before and its file is not what was made."""
        file = self.request.target.file
        if not plan.complete or file is None:
            return
        size = file.stat().st_size if file.exists() else None
        if size is None or (plan.size is not None and size != plan.size):
            found = "is gone" if size is None else f"has {size:,} bytes, and {plan.size:,} were written"
            raise AttuneError(
                f"this replay was completed before, and {file} {found}",
                f"to do it again, delete {self.folder} and that file",
            )

    def _clear(self, plan: Plan) -> None:
        for task in plan.ranges:
            part_path(self.folder, task.partition).unlink(missing_ok=True)

    def _report(self, plan: Plan, seconds: float) -> None:
        marks = [self._mark(task) for task in plan.ranges]
        target = self.request.target
        found: dict[str, Any] = {
            "given": sum(mark.given for mark in marks),
            "refused": sum(mark.refused for mark in marks),
            "read": self._read,
            "partitions": len(plan.ranges),
            "jobs": self._processes,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(self._cpu_seconds, 3),
            "to": str(target.file or target.topic or "screen"),
            "was_complete": plan.complete,
        }
        out = sys.stderr if target.is_screen else sys.stdout
        replay_text.report(found, out, json=self.json and not target.is_screen)


def _sync_folder(folder: Path) -> None:
    """Make names in a folder outlast a power cut, like what they stand for."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _worth_starting(records: int) -> int:
    """Return how many processes: one takes about a second to start, in which another folds so many records."""
    return min(os.cpu_count() or 1, 1 + records // _RECORDS_OF_A_START)


class _InOrder:
    """Hands partitions on in their order, each as soon as it and all before it are done."""

    def __init__(self, partitions: Sequence[int], unfinished: set[int], hand_on: Callable[[int], None]) -> None:
        self._order: Iterator[int] = iter(partitions)
        self._unfinished = unfinished
        self._next = next(self._order, None)
        self._hand_on = hand_on

    def done(self, partition: int) -> None:
        """Note that a partition is done."""
        self._unfinished.discard(partition)
        self.go_on()

    def go_on(self) -> None:
        """Hand on what may be."""
        while self._next is not None and self._next not in self._unfinished:
            self._hand_on(self._next)
            self._next = next(self._order, None)
