"""The AsyncAPI 3.0 document, made from the catalogue, the schemas, the vocabulary and the examples.

`python -m schemas.asyncapi` writes schemas/asyncapi.yaml; a test fails when the file is stale or invalid. Only
public topics are in it.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from schemas import deadletter, headers, message_examples, topics, versions
from schemas.catalogue import CATALOGUE, Catalogue, Topic
from schemas.vocabulary import MEANINGS

FILE: Final = Path(__file__).parent / "asyncapi.yaml"
CONTRACT_VERSION: Final = "1.0.0"
"""Raise the last number for words and examples, the middle one for new fields and topics, the first for a break."""

_BINDING: Final = "0.5.0"
_AVRO_FORMAT: Final = "application/vnd.apache.avro;version=1.9.0"
_DEAD_LETTER: Final = "DeadLetter"
_WE_READ: Final = (topics.INTERACTIONS,)

_DESCRIPTION: Final = """\
Every channel publishes what a customer did as an interaction. Attune folds interactions into one state per customer
and answers with next best actions and suppressions, which connectors carry out; what the customer does next comes
back as an interaction.

Messages are CloudEvents 1.0 in Kafka's binary mode. Values are Avro in Confluent wire format: byte 0, the schema id
in four bytes, big-endian, the body. Schemas evolve BACKWARD_TRANSITIVE. Quote the decision id in every display,
dispatch, delivery and response. Put identifiers only into the key and the personal block. Consumers ignore an output
whose attune-position they have applied: after a crash it may come again, with the same id and content.
"""


def document(catalogue: Catalogue = CATALOGUE) -> dict[str, Any]:
    """Return the document as plain data."""
    public = [topic for topic in catalogue.topics.values() if topic.public]
    names = sorted({name for topic in public for name in topic.schemas})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Attune",
            "version": CONTRACT_VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": headers.AVRO.decode(),
        "channels": {topic.name: _channel(topic, catalogue) for topic in public},
        "operations": dict(_operation(topic) for topic in public),
        "components": {
            "messages": {
                **{name: _message(name, {topic.name for topic in public}) for name in names},
                _DEAD_LETTER: _dead_letter(),
            },
        },
    }


def text() -> str:
    """Return the document as the YAML that is committed."""
    head = "# Made by `python -m schemas.asyncapi`; change the catalogue, the schemas or the examples instead.\n"
    return head + yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _messages_of(topic: Topic) -> Iterator[str]:
    if topic.value == "original":
        yield _DEAD_LETTER
    yield from topic.schemas


def _channel(topic: Topic, catalogue: Catalogue) -> dict[str, Any]:
    settings = catalogue.settings(topic)
    return {
        "address": topic.name,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "topicConfiguration": {
                    "cleanup.policy": [topic.cleanup],
                    "retention.ms": topic.retention_ms,
                    **{
                        name: int(value) if name == "max.message.bytes" else value
                        for name, value in settings.items()
                        if name not in ("cleanup.policy", "retention.ms")
                    },
                },
                "bindingVersion": _BINDING,
            }
        },
        "x-key": topic.key,
        "x-owner": f"{topic.owner}: {catalogue.owners[topic.owner]}",
        "x-producers": list(topic.producers),
        "x-consumers": list(topic.consumers),
    }


def _operation(topic: Topic) -> tuple[str, dict[str, Any]]:
    action = "receive" if topic.name in _WE_READ else "send"
    channel = topic.name.replace("/", "~1")
    return f"{action} {topic.name}".replace(" ", "-"), {
        "action": action,
        "summary": f"Attune {action}s on {topic.name}",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in _messages_of(topic)],
    }


def _message(name: str, public: set[str]) -> dict[str, Any]:
    schema = versions.CURRENT[name]
    message: dict[str, Any] = {
        "name": name,
        "title": name,
        "summary": schema["doc"],
        "contentType": headers.AVRO.decode(),
        "headers": _cloud_event_headers(name),
        "payload": {"schemaFormat": _AVRO_FORMAT, "schema": schema},
        "bindings": {
            "kafka": {
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicNameStrategy",
                "bindingVersion": _BINDING,
            }
        },
        "examples": [
            {"name": found.name, "summary": found.summary, "headers": dict(found.headers), "payload": found.payload}
            for found in message_examples.load(name)
            if found.topic in public
        ],
        "x-fingerprint": versions.LATEST[name].fingerprint,
    }
    if name == "Interaction":
        message["x-event-types"] = [
            {
                "type": event.value,
                "stage": meaning.stage.value,
                "by": meaning.actor.value,
                "says": f"the customer {meaning.says}",
                **({"reference": meaning.reference} if meaning.reference else {}),
            }
            for event, meaning in MEANINGS.items()
        ]
    return message


_CE_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "NextBestAction": (headers.ACTION_PROPOSED, headers.ACTION_RECALLED, headers.NO_ACTION),
    "Suppression": (headers.SUPPRESSION_STARTED, headers.SUPPRESSION_LIFTED),
    "Control": (headers.WATERMARK,),
    "CustomerState": (headers.CUSTOMER_STATE,),
}


def _cloud_event_headers(name: str) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "string", "description": "what happened"}
    if name in _CE_TYPES:
        kind["enum"] = list(_CE_TYPES[name])
    elif name == "Interaction":
        kind["pattern"] = f"^{headers.INTERACTION_PREFIX.replace('.', chr(92) + '.')}"
    properties: dict[str, Any] = {
        headers.SPECVERSION: {"type": "string", "const": headers.SPECVERSION_1_0.decode()},
        headers.ID: {"type": "string", "description": "with ce_source the identity of the event"},
        headers.TYPE: kind,
        headers.SOURCE: {"type": "string", "description": "who published it, e.g. /billing"},
        headers.TIME: {"type": "string", "format": "date-time", "description": "event time, RFC 3339"},
        headers.SUBJECT: {
            "type": "string",
            "description": "the customer's surrogate; never an identifier in the clear",
        },
        headers.CONTENT_TYPE: {"type": "string", "const": headers.AVRO.decode()},
        headers.TRACEPARENT: {"type": "string", "description": "W3C trace context, passed on where it is valid"},
    }
    if name == "Interaction":
        properties[headers.PERSONAL] = {
            "type": "string",
            "const": headers.PERSONAL_IN_THE_CLEAR.decode(),
            "description": "must be there when the value carries a personal block in the clear",
        }
    if name in ("NextBestAction", "Suppression"):
        properties[headers.POSITION] = {
            "type": "string",
            "description": "`<partition>/<offset>/<index>` in the journal; ignore what is not above the last applied",
        }
    return {"type": "object", "properties": properties}


def _dead_letter() -> dict[str, Any]:
    texts = {
        deadletter.TOPIC: "topic of the record",
        deadletter.PARTITION: "its partition",
        deadletter.OFFSET: "its offset",
        deadletter.STAGE: "where it failed: " + ", ".join(deadletter.Stage),
        deadletter.CLASS_NAME: "who was at work",
        deadletter.EXCEPTION_CLASS: "class of the error",
        deadletter.EXCEPTION_MESSAGE: "words of the error, without values of the record",
        deadletter.EXCEPTION_STACKTRACE: "places of the error",
    }
    marks = {
        deadletter.TRUNCATED: "length of the value in bytes, where only its beginning is kept",
        deadletter.TRUNCATED_KEY: "length of the key in bytes, where only its beginning is kept",
        deadletter.TRUNCATED_HEADERS: "number of headers, where only the first are kept",
        deadletter.REDRIVEN: "the dead letter that the record came back from; one for each return",
    }
    return {
        "name": _DEAD_LETTER,
        "title": _DEAD_LETTER,
        "summary": "A record that could not be processed: its key, value and headers as they were, and headers that "
        "say why. With header attune-encrypted = 1 the value is a DeadLetterEnvelope instead, in which key, value and "
        "headers are.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": text} for name, text in texts.items()}
            | {name: {"type": "string", "description": text} for name, text in marks.items()}
            | {deadletter.ENCRYPTED: {"type": "string", "const": "1"}},
        },
        "payload": {"type": "string", "format": "binary"},
    }


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and text of several lines as it is."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


if __name__ == "__main__":
    FILE.write_text(text())
    sys.stdout.write(f"wrote {FILE}\n")
