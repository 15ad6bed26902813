"""Publishing a policy or a model from bytes: checked, in conflict with nothing, durable, approved."""

import dataclasses

from aiokafka import TopicPartition

from agents.clients import kafka
from agents.errors import AttuneError
from agents.journal.publish import TOPIC_OF_KIND, check, conflict, publish_document
from agents.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What was published; `sequence` is the approval's offset and orders activations."""

    kind: str
    name: str
    version: str
    sha256: str
    sequence: int


async def publish(settings: Settings, kind: str, raw: bytes, *, approved_by: str) -> Published:
    """Check and publish a document of kind `policy` or `model`; the coordinator then activates it.

    Raises InvalidPolicy or InvalidModel, and AttuneError when other bytes stand under that version.
    """
    document = check(kind, raw)
    topic = TOPIC_OF_KIND[kind]
    consumer = kafka.consumer(settings.kafka)
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        existing = []
        while await consumer.position(tp) < end:
            existing += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
    finally:
        await consumer.stop()
    reason = conflict(document, existing)
    if reason is not None:
        raise AttuneError(reason, f"set a new version in the {kind} document")
    producer = kafka.producer(settings.kafka)
    await producer.start()
    try:
        sequence = await publish_document(producer, document, approved_by=approved_by)
    finally:
        await producer.stop()
    return Published(kind, document.name, document.version, document.sha256, sequence)
