"""Records -> outputs and changed states, for one partition.  No I/O: the same in live work and simulation.

A batch is folded fast: one encoding per changed state.  Only if something raises, the batch is
taken back and folded again with care, one commit per record, so that the culprit alone is
dead-lettered and a state changed in place is decoded afresh from before it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from agents.engine.errors import OversizedOutput, wants_retry
from agents.engine.job import Job
from agents.engine.records import PlainEntry, Record, size_of
from agents.engine.table import StateTable

Destination = tuple[str, int]

_ENDING = (KeyboardInterrupt, SystemExit)
"""What ends the process is no record's fault."""


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a run of records did.

    `consumed` records were folded (dead letters included); `blocked` says why the next one was not.
    """

    position: int = -1
    consumed: int = 0
    changes: list[tuple[bytes, bytes | None]] = dataclasses.field(default_factory=list)
    changes_bytes: int = 0
    """About how many bytes the changes take in a changelog batch."""
    sends: dict[Destination, list[PlainEntry]] = dataclasses.field(default_factory=dict)
    outputs: int = 0
    dead_letters: int = 0
    blocked: BaseException | None = None


class Fold:
    """Folds runs of records of one partition into a table."""

    def __init__(self, job: Job, table: StateTable, counts: dict[str, int]) -> None:
        """Take the job, the table, and the number of partitions of each output topic."""
        self._job = job
        self._table = table
        self._counts = counts
        self._undo: list[tuple[bytes, bytes | None]] = []

    def __call__(self, records: Sequence[Record]) -> Outcome:
        """Fold a run; on return the table holds its result.

        If its changes are more than the job's `max_batch_bytes`, `undo` takes it back until the next call.
        """
        self._undo = []
        try:
            return self._fast(records)
        except _ENDING:
            raise
        except BaseException:  # noqa: BLE001 - whatever a step raises (a panic of a library in Rust is no Exception)
            self._table.rollback()  # is judged record by record in _careful
        return self._careful(records)

    def undo(self) -> None:
        """Take the last run, which was too large, back."""
        self._table.load(reversed(self._undo))
        self._table.rollback()
        self._undo = []

    def _fast(self, records: Sequence[Record]) -> Outcome:
        outcome = Outcome(position=records[-1].offset, consumed=len(records))
        table, step, place, check, muted = self._table, self._job.step, self._place, self._check, self._job.muted
        for record in records:
            outputs = step(table, record)
            if outputs:
                check(outputs)
                if muted is None or not muted(record):
                    place(outcome, record, outputs)
        outcome.changes = changes = table.encode()
        outcome.changes_bytes = size = _bytes_of(changes)
        if size > self._job.max_batch_bytes:  # else nobody asks for `undo`
            self._undo = [(key, table.at_rest(key)) for key, _ in changes]
        table.commit(changes)
        return outcome

    def _careful(self, records: Sequence[Record]) -> Outcome:
        outcome = Outcome()
        table, step, job = self._table, self._job.step, self._job
        changed: dict[bytes, bytes | None] = {}
        for record in records:
            try:
                outputs = step(table, record)
                changes = table.encode()
                self._check(outputs or ())
            except _ENDING:
                raise
            except BaseException as error:  # noqa: BLE001 - a bad record never stops a partition
                table.rollback()
                if wants_retry(error):
                    outcome.blocked = error
                    break
                outputs = [job.dead_letter(record, error)]
                changes = []
                outcome.dead_letters += not self._is_muted(record)
            if outputs and not self._is_muted(record):
                self._place(outcome, record, outputs)
            self._undo += [(key, table.at_rest(key)) for key, _ in changes]
            table.commit(changes)
            changed.update(changes)
            outcome.position = record.offset
            outcome.consumed += 1
        outcome.changes = list(changed.items())
        outcome.changes_bytes = _bytes_of(outcome.changes)
        return outcome

    def _is_muted(self, record: Record) -> bool:
        muted = self._job.muted
        return muted is not None and muted(record)

    def _check(self, outputs: Sequence[Any]) -> None:
        limit = self._job.max_output_bytes
        for output in outputs:
            size = size_of((output[1:4],))
            if size > limit:
                raise OversizedOutput(f"output of {size} bytes for {output[0]}, headers included, is over {limit}")

    def _place(self, outcome: Outcome, record: Record, outputs: Sequence[Any]) -> None:
        job, counts, sends = self._job, self._counts, outcome.sends
        header = job.position_header
        for index, output in enumerate(outputs):
            if len(output) == 4:
                topic, key, value, headers = output
                partition = None
            else:
                topic, key, value, headers, partition = output
            if partition is None:
                partition = job.partitioner(topic, key, counts[topic])
            if header is not None:
                position = b"%d/%d/%d" % (record.partition, record.offset, index)
                headers = [*headers, (header, position)]
            place = (topic, partition)
            batch = sends.get(place)
            if batch is None:
                batch = sends[place] = []
            batch.append((key, value, headers))
        outcome.outputs += len(outputs)


def _bytes_of(changes: Sequence[tuple[bytes, bytes | None]]) -> int:
    size = 40 * len(changes)
    for key, value in changes:
        size += len(key) + len(value or b"")
    return size
