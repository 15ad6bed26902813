"""Contender `engine`: the batch engine on the plain fold, its options as in agents.workers."""

from collections.abc import Sequence
from typing import Any

import faust

from agents.clients import kafka
from agents.engine.app import EngineApp, create_app
from agents.engine.job import Job
from agents.engine.kafka import KafkaLog
from agents.engine.records import Output, Record
from agents.engine.table import StateTable
from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment, begin, note_first_run


class Codec:
    """States as msgpack."""

    encode = staticmethod(plain.encode)
    decode = staticmethod(plain.decode)


def plain_job(assignment: Assignment) -> Job:
    """Return the plain fold as a job."""
    out, encode = assignment.out, plain.encode

    def step(table: StateTable, record: Record) -> Sequence[Any]:
        key: Any = record.key
        state = table.get(key)
        if state is None:
            state = plain.State()
        due = state.add(record.value)
        table.set(key, state)
        return ((out, key, encode(state), ()),) if due else ()

    return Job(
        name=assignment.group,
        source=assignment.source,
        step=step,
        outputs=(out, assignment.dead),
        dead_letter=lambda record, error: Output(
            assignment.dead, record.key, record.value, [("why", repr(error).encode())]
        ),
        codec=Codec(),
        changelog=assignment.changelog,
        position_header=plain.POSITION,
        max_batch_records=plain.BATCH,
    )


def build(assignment: Assignment) -> EngineApp:
    """Return the Faust app."""
    connection = assignment.kafka
    return create_app(
        plain_job(assignment),
        brokers=assignment.bootstrap,
        log=KafkaLog(producer=lambda: kafka.producer(connection), consumer=lambda: kafka.consumer(connection)),
        new_consumer=lambda: kafka.consumer(
            connection, group=assignment.group, max_partition_fetch_bytes=plain.FETCH_BYTES
        ),
        broker_commit_interval=plain.COMMIT_SECONDS,
        datadir=assignment.folder,
    )


def main() -> None:
    """Run until a signal."""
    assignment = begin()
    app = build(assignment)
    note_first_run(app.engine_options.engine, assignment)
    faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
