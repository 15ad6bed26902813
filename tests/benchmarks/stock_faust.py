"""Contender `stock-faust`: stock faust-streaming with a Table in memory, on the plain fold.

The table holds states as bytes in the others' encoding, which is less work for Faust than its JSON.
All else is as Faust has it, but for the commit interval and the web server.
"""

import logging

import faust

from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment, begin


def build(assignment: Assignment) -> faust.App:
    """Return the app."""
    app = faust.App(
        assignment.group,
        broker=f"kafka://{assignment.bootstrap}",
        store="memory://",
        web_enabled=False,
        broker_commit_interval=plain.COMMIT_SECONDS,
        datadir=assignment.folder,
        topic_partitions=plain.PARTITIONS,
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    source = app.topic(assignment.source, **raw)
    out = app.topic(assignment.out, **raw)
    states = app.Table("states", partitions=plain.PARTITIONS, key_type=bytes, value_type=bytes)

    async def fold(stream: faust.StreamT) -> None:
        first = True
        async for event in stream.events():
            if first:
                assignment.first_record()
                first = False
            key = event.key
            encoded = states.get(key)
            state = plain.State() if encoded is None else plain.decode(encoded)
            due = state.add(event.value)
            states[key] = encoded = plain.encode(state)
            if due:
                message = event.message
                header = {plain.POSITION: plain.position(message.partition, message.offset)}
                partition = plain.output_partition(key)
                await out.send(key=key, value=encoded, partition=partition, headers=header)

    app.agent(source, name=f"{assignment.group}.fold")(fold)
    return app


def main() -> None:
    """Run until a signal."""
    worker = faust.Worker(build(begin()), loglevel=logging.WARNING, redirect_stdouts=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
