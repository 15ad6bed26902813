"""Contender `bytewax`: the plain fold with Bytewax, one worker, recovering from snapshots.

States are objects in memory; a snapshot, in the others' encoding, goes into Bytewax's recovery store at the end of
each epoch, together with the offsets to go on from.  Bytewax commits no offsets to Kafka.
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment, begin


class Fold(StatefulLogic):
    """The state of one customer."""

    def __init__(self, saved: bytes | None) -> None:
        self._state = plain.State() if saved is None else plain.decode(saved)

    def on_item(self, value: KafkaSourceMessage) -> tuple[Iterable[KafkaSinkMessage], bool]:
        if not self._state.add(value.value):
            return (), StatefulLogic.RETAIN
        headers = [(plain.POSITION, plain.position(value.partition, value.offset))]
        return (KafkaSinkMessage(value.key, plain.encode(self._state), headers=headers),), StatefulLogic.RETAIN

    def snapshot(self) -> bytes:
        return plain.encode(self._state)


def build(assignment: Assignment) -> Dataflow:
    """Return the flow; tests.benchmarks.traces knows the names of its steps."""
    started = False

    def customer(message: KafkaSourceMessage) -> str:
        nonlocal started
        if not started:
            assignment.first_record()
            started = True
        return message.key.decode()

    brokers = [assignment.bootstrap]
    flow = Dataflow("fold")
    source = op.input("source", flow, KafkaSource(brokers, [assignment.source], batch_size=plain.BATCH))
    outputs = op.stateful("states", op.key_on("customer", source, customer), Fold)
    sink = KafkaSink(brokers, assignment.out, add_config={"enable.idempotence": "true"})
    op.output("out", op.key_rm("message", outputs), sink)
    return flow


def main() -> None:
    """Run until a signal."""
    assignment = begin()
    store = Path(assignment.folder, "recovery")
    if not store.exists():
        store.mkdir()
        init_db_dir(store, 1)
    epoch = timedelta(seconds=plain.COMMIT_SECONDS)
    cli_main(build(assignment), epoch_interval=epoch, recovery_config=RecoveryConfig(store, timedelta(0)))


if __name__ == "__main__":
    main()
