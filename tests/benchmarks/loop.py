"""Contender `loop`: the plain fold by hand over aiokafka, the ceiling that the engine is measured against.

It does the engine's durable work in the engine's order, and nothing else: outputs acknowledged, then
one changelog batch (each changed state once, and a record that says how far it goes, without which
no restart could be right) acknowledged, then the commit.  It has no restore, no fences, no dead
letters, no limits, and it stands still while it waits; CPU seconds do not count that.
"""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.clients import kafka
from tests.benchmarks import plain
from tests.benchmarks.assignment import Assignment, begin

POSITION_KEY = b"\x00position"
"""Key of the record that ends a changelog batch."""


def fold(
    states: dict[bytes, plain.State], records: list, producer: AIOKafkaProducer
) -> tuple[dict[int, BatchBuilder], BatchBuilder]:
    """Fold the records of one partition; return batches of outputs by partition, and the changelog batch."""
    now_ms = int(time.time() * 1000)  # else the builder asks the clock for every record
    outputs: dict[int, BatchBuilder] = {}
    changed: dict[bytes, plain.State] = {}
    for record in records:
        key = record.key
        state = states.get(key)
        if state is None:
            state = states[key] = plain.State()
        changed[key] = state
        if state.add(record.value):
            number = plain.output_partition(key)
            batch = outputs.get(number)
            if batch is None:
                batch = outputs[number] = producer.create_batch()
            headers = [(plain.POSITION, plain.position(record.partition, record.offset))]
            assert batch.append(timestamp=now_ms, key=key, value=plain.encode(state), headers=headers)
    changes = producer.create_batch()
    for key, state in changed.items():
        assert changes.append(timestamp=now_ms, key=key, value=plain.encode(state))
    assert changes.append(timestamp=now_ms, key=POSITION_KEY, value=b"%d" % records[-1].offset)
    return outputs, changes


async def turn(
    assignment: Assignment, states: dict[bytes, plain.State], consumer: AIOKafkaConsumer, producer: AIOKafkaProducer
) -> None:
    """Do one poll: outputs durable, then changelog durable, then commit."""
    fetched: dict[TopicPartition, list] = await consumer.getmany(timeout_ms=1_000, max_records=plain.BATCH)
    if not fetched:
        return
    if not states:
        assignment.first_record()
    folded = {tp: fold(states, records, producer) for tp, records in fetched.items()}
    sent = [
        await producer.send_batch(batch, assignment.out, partition=number)
        for outputs, _ in folded.values()
        for number, batch in outputs.items()
    ]
    await asyncio.gather(*sent)
    sent = [
        await producer.send_batch(changes, assignment.changelog, partition=tp.partition)
        for tp, (_, changes) in folded.items()
    ]
    await asyncio.gather(*sent)
    await consumer.commit({tp: records[-1].offset + 1 for tp, records in fetched.items()})


async def run(assignment: Assignment) -> None:
    """Poll until a signal."""
    consumer = kafka.consumer(
        assignment.kafka,
        assignment.source,
        group=assignment.group,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=plain.FETCH_BYTES,
    )
    producer = kafka.producer(assignment.kafka)
    await producer.start()
    await consumer.start()
    states: dict[bytes, plain.State] = {}
    while True:
        await turn(assignment, states, consumer, producer)


if __name__ == "__main__":
    asyncio.run(run(begin()))
