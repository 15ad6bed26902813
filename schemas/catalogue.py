"""The topic catalogue, typed and checked."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from schemas import topics, versions
from schemas.errors import ContractError
from schemas.registry import subject_of

FILE: Final = Path(__file__).parent / "catalogue.yaml"
FOREVER: Final = -1

_NAME = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*\.v[0-9]+(\.dlq)?\Z")
_RETENTION = re.compile(r"([1-9][0-9]*)([dh])\Z")
_HOUR_MS: Final = 3_600_000


class CatalogueError(ContractError):
    """The catalogue contradicts itself or the schemas; the message names the topic."""


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One topic. The fields are explained at the head of catalogue.yaml; `name` is its key there."""

    name: str = ""
    description: str
    owner: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    key: str
    value: Literal["avro", "document", "original", "private"]
    schemas: tuple[str, ...]
    partitions: int
    cleanup: Literal["delete", "compact"]
    retention: str
    replication: int
    public: bool
    config: Mapping[str, str] = {}
    same_partitions_as: str | None = None

    @property
    def retention_ms(self) -> int:
        """Milliseconds that records stay, -1 for ever."""
        if self.retention == "forever":
            return FOREVER
        match = _RETENTION.match(self.retention)
        assert match is not None  # load has checked it
        return int(match[1]) * _HOUR_MS * (24 if match[2] == "d" else 1)

    def subjects(self) -> Iterator[tuple[str, str]]:
        """Yield (subject, schema name) of what the topic carries."""
        for index, name in enumerate(self.schemas):
            own = index == 0 and self.value == "avro"
            yield subject_of(self.name, None if own else name), name


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All topics, their owners, and the Kafka configuration that every topic has."""

    owners: Mapping[str, str]
    defaults: Mapping[str, str]
    topics: Mapping[str, Topic]

    def settings(self, topic: Topic, replication: int | None = None) -> dict[str, str]:
        """Return the topic's Kafka configuration; `replication` overrides that of the catalogue."""
        copies = topic.replication if replication is None else replication
        return {
            **self.defaults,
            "cleanup.policy": topic.cleanup,
            "retention.ms": str(topic.retention_ms),
            "min.insync.replicas": str(max(1, copies - 1)),
            **topic.config,
        }

    def split(self, journal: str, partitions: int) -> "Catalogue":
        """Return the catalogue of a cluster whose journal was split to so many partitions."""
        grown = {
            name: msgspec.structs.replace(topic, partitions=partitions)
            if journal in (name, topic.same_partitions_as)
            else topic
            for name, topic in self.topics.items()
        }
        return msgspec.structs.replace(self, topics=grown)

    def subjects(self) -> Iterator[tuple[str, str]]:
        """Yield (subject, schema name) of every topic, as a registry wants them."""
        for topic in self.topics.values():
            yield from topic.subjects()


def load(text: str | bytes) -> Catalogue:
    """Read a catalogue; CatalogueError says what is wrong and where."""
    try:
        raw = msgspec.yaml.decode(text, type=Catalogue)
    except msgspec.MsgspecError as error:
        raise CatalogueError(f"catalogue: {error}") from error
    named = {name: msgspec.structs.replace(topic, name=name) for name, topic in raw.topics.items()}
    catalogue = msgspec.structs.replace(raw, topics=named)
    faults = list(_faults(catalogue))
    if faults:
        raise CatalogueError("catalogue: " + "; ".join(faults))
    return catalogue


def _faults(catalogue: Catalogue) -> Iterator[str]:
    for topic in catalogue.topics.values():
        for fault in (*_own_faults(topic), *_reference_faults(topic, catalogue)):
            yield f"{topic.name}: {fault}"
    used = {name for topic in catalogue.topics.values() for name in topic.schemas}
    yield from (f"schema {name} is used by no topic" for name in versions.CURRENT if name not in used)


def _own_faults(topic: Topic) -> Iterator[str]:
    if not _NAME.match(topic.name):
        yield "a topic is named <domain>.<entity>.v<n>, with .dlq for its dead letters"
    if not (topic.description and topic.key and topic.producers and topic.consumers):
        yield "description, key, producers and consumers must say something"
    if topic.value == "avro" and not topic.schemas:
        yield "its value is avro, so it needs a schema"
    if topic.name.endswith(topics.DEAD_LETTER_SUFFIX) and topic.value != "original":
        yield "dead letters are kept as they were: value must be `original`"
    if topic.partitions < 1 or topic.replication < 1:
        yield "partitions and replication are at least 1"
    if topic.retention != "forever" and not _RETENTION.match(topic.retention):
        yield f"retention {topic.retention!r} is neither `forever` nor a number with d or h"


def _reference_faults(topic: Topic, catalogue: Catalogue) -> Iterator[str]:
    if topic.owner not in catalogue.owners:
        yield f"owner {topic.owner!r} is not among the owners ({', '.join(catalogue.owners)})"
    yield from (f"schema {name!r} does not exist" for name in topic.schemas if name not in versions.CURRENT)
    if topic.name.removesuffix(topics.DEAD_LETTER_SUFFIX) not in catalogue.topics:
        yield "it takes the dead letters of a topic that is not in the catalogue"
    other = topic.same_partitions_as
    if other is not None and other not in catalogue.topics:
        yield f"same_partitions_as names {other!r}, which is not in the catalogue"
    elif other is not None and catalogue.topics[other].partitions != topic.partitions:
        yield f"it has {topic.partitions} partitions and must have as many as {other}"


CATALOGUE: Final = load(FILE.read_bytes())
"""The committed catalogue."""
