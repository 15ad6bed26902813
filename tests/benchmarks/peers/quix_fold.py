"""Contender `quix`: the plain fold with Quix Streams, exactly once, its states in RocksDB and a changelog topic.

The state is bytes in the others' encoding, which is less work than Quix's JSON.  The name of its transactions is
fixed, so that a restart ends at once what a kill has left open.
"""

from typing import Any

from quixstreams import Application, State, message_context

from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment, begin

_STATE = b"state"


def build(assignment: Assignment) -> Application:
    """Return the application with its one pipeline."""
    app = Application(
        broker_address=assignment.bootstrap,
        consumer_group=assignment.group,
        auto_offset_reset="earliest",
        commit_interval=plain.COMMIT_SECONDS,
        processing_guarantee="exactly-once",
        state_dir=f"{assignment.folder}/state",
        consumer_extra_config={"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1_000},
        producer_extra_config={"transactional.id": assignment.group},
        loglevel="WARNING",
    )
    raw = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    source = app.topic(assignment.source, **raw)
    out = app.topic(assignment.out, key_serializer="bytes", value_serializer="bytes")
    started = False

    def fold(value: bytes, kept: State[Any, Any]) -> bytes | None:
        nonlocal started
        if not started:
            assignment.first_record()
            started = True
        encoded = kept.get_bytes(_STATE)
        state = plain.State() if encoded is None else plain.decode(encoded)
        due = state.add(value)
        encoded = plain.encode(state)
        kept.set_bytes(_STATE, encoded)
        return encoded if due else None

    def headers(*_: Any) -> list[tuple[str, bytes]]:
        at = message_context()
        return [(plain.POSITION, plain.position(at.partition, at.offset))]

    folded = app.dataframe(source).apply(fold, stateful=True)
    folded.filter(lambda encoded: encoded is not None).set_headers(headers).to_topic(out)
    return app


if __name__ == "__main__":
    build(begin()).run()
