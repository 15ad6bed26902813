"""The catalogue against a cluster: what differs, and the part of it that can be put right.

Missing topics are created and configurations are changed; partitions and replication of a topic that exists are
only reported: more partitions would send customers' later records elsewhere, and replicas are moved by Kafka's own
tools. The admin client is a started AIOKafkaAdminClient, or one like it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from agents.errors import AttuneError
from schemas.catalogue import Catalogue, Topic

SETTLE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_UNKNOWN_TOPIC: Final = 3
_TOPIC_EXISTS: Final = 36
_INVALID_REPLICATION: Final = 38
_SET_ON_THE_TOPIC: Final = 1
"""Source of a configuration that was set on the topic itself, in Kafka's answers."""


class Aspect(StrEnum):
    """In what a topic may differ from the catalogue."""

    EXISTENCE = "existence"
    PARTITIONS = "partitions"
    REPLICATION = "replication"
    CONFIG = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing about one topic that is not as the catalogue says.

    `name` is the configuration's name where the aspect is CONFIG; `found` is None for what is not there;
    `advice` says what to do where `apply` will not do it.
    """

    topic: str
    aspect: Aspect
    wanted: str
    found: str | None
    name: str = ""
    advice: str = ""

    @property
    def appliable(self) -> bool:
        """Whether `apply` puts it right."""
        return not self.advice

    def __str__(self) -> str:
        if self.aspect is Aspect.EXISTENCE:
            return f"{self.topic}: missing, would have {self.wanted}"
        what = self.name or self.aspect.value
        text = f"{self.topic}: {what} is {self.found}, the catalogue says {self.wanted}"
        return f"{text}; {self.advice}" if self.advice else text


async def compare(admin: Any, catalogue: Catalogue, *, replication: int | None = None) -> list[Difference]:
    """Return every difference, in the order of the catalogue; `replication` overrides that of every topic."""
    present = await _describe(admin, catalogue.topics)
    configs = await topic_configs(admin, [name for name in catalogue.topics if name in present])
    found: list[Difference] = []
    for topic in catalogue.topics.values():
        copies = topic.replication if replication is None else replication
        if topic.name in present:
            found += _layout_differences(topic, present[topic.name], copies)
            found += _config_differences(topic, catalogue.settings(topic, copies), configs[topic.name])
        else:
            wanted = (
                f"{topic.partitions} partitions, replication {copies}, {topic.cleanup}, retention {topic.retention}"
            )
            found.append(Difference(topic=topic.name, aspect=Aspect.EXISTENCE, wanted=wanted, found=None))
    return found


async def apply(admin: Any, catalogue: Catalogue, *, replication: int | None = None) -> list[Difference]:
    """Create what is missing, set what differs, and wait until every partition has a leader.

    Returns the differences that were put right; applying again is harmless, two at once too. AttuneError when
    Kafka refuses, e.g. for too few brokers, or when it has not settled after 30 s.
    """
    differences = [found for found in await compare(admin, catalogue, replication=replication) if found.appliable]
    missing = [found.topic for found in differences if found.aspect is Aspect.EXISTENCE]
    if missing:
        await _create(admin, catalogue, missing, replication)
    changed = {found.topic for found in differences if found.aspect is Aspect.CONFIG}
    for name in sorted(changed):
        await _set_configs(admin, catalogue, catalogue.topics[name], replication)
    await _settle(admin, catalogue, replication)
    return differences


async def _create(admin: Any, catalogue: Catalogue, names: Iterable[str], replication: int | None) -> None:
    new = []
    for name in names:
        topic = catalogue.topics[name]
        copies = topic.replication if replication is None else replication
        config = catalogue.settings(topic, copies)
        new.append(NewTopic(name, topic.partitions, copies, topic_configs=config))
    answer = await admin.create_topics(new)
    for name, code, *words in answer.topic_errors:  # a refusal is a code here, never an exception
        if code == _INVALID_REPLICATION:
            copies = catalogue.topics[name].replication if replication is None else replication
            raise AttuneError(
                f"{name}: Kafka cannot keep {copies} copies: {_said(words)}",
                "start that many brokers, or for a trial give --replication 1",
            )
        if code not in (0, _TOPIC_EXISTS):
            raise AttuneError(
                f"{name}: Kafka did not create it: {for_code(code).__name__}: {_said(words)}",
                "creating topics needs the ACL Create on them; `attune topics plan` shows what would be created",
            )


async def _set_configs(admin: Any, catalogue: Catalogue, topic: Topic, replication: int | None) -> None:
    copies = topic.replication if replication is None else replication
    # AlterConfigs replaces all that was set on the topic, so what others set there goes along.
    kept = (await topic_configs(admin, [topic.name], own_only=True))[topic.name]
    wanted = {**kept, **catalogue.settings(topic, copies)}
    for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, wanted)]):
        for code, message, *_ in answer.resources:
            if code:
                raise AttuneError(
                    f"{topic.name}: Kafka did not change its configuration: {for_code(code).__name__}: {message}",
                    "changing it needs the ACL AlterConfigs on the topic",
                )


async def _settle(admin: Any, catalogue: Catalogue, replication: int | None) -> None:
    """Wait until every broker asked shows the change and every partition has a leader.

    Brokers learn of it a moment after the controller has said yes, and a client that reads a topic before may idle
    for minutes.
    """
    deadline = monotonic() + SETTLE_SECONDS
    while True:
        left = {found.topic for found in await compare(admin, catalogue, replication=replication) if found.appliable}
        present = await _describe(admin, catalogue.topics)
        waiting = [name for name in catalogue.topics if name in left or not _has_leaders(present.get(name))]
        if not waiting:
            return
        if monotonic() > deadline:
            raise AttuneError(
                f"after {SETTLE_SECONDS:.0f} s Kafka does not show what was asked for of {', '.join(waiting)}",
                "see whether all brokers are up, then run `attune topics apply` again",
            )
        await asyncio.sleep(_POLL_SECONDS)


def _has_leaders(topic: Mapping[str, Any] | None) -> bool:
    return topic is not None and all(partition["leader"] >= 0 for partition in topic["partitions"])


async def _describe(admin: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    # All topics are asked for: asking for one by name would create it on a broker that creates topics by itself.
    return {topic["topic"]: topic for topic in await admin.describe_topics() if topic["topic"] in names}


async def topic_configs(admin: Any, names: list[str], *, own_only: bool = False) -> dict[str, dict[str, str]]:
    """Return the configuration of topics by topic and name; with `own_only` what was set on the topic itself."""
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for answer in await admin.describe_configs(resources):
        for code, message, _, name, entries in answer.resources:
            if code not in (0, _UNKNOWN_TOPIC):  # one that a broker has not heard of yet has no configuration
                raise AttuneError(
                    f"{name}: Kafka did not tell its configuration: {for_code(code).__name__}: {message}",
                    "reading it needs the ACL DescribeConfigs on the topic",
                )
            found[name] = {
                key: value
                for key, value, _, source, *_ in entries
                if value is not None and (not own_only or source == _SET_ON_THE_TOPIC)
            }
    return found


def _layout_differences(topic: Topic, found: Mapping[str, Any], copies: int) -> Iterable[Difference]:
    partitions = len(found["partitions"])
    if partitions != topic.partitions:
        yield Difference(
            topic=topic.name,
            aspect=Aspect.PARTITIONS,
            wanted=str(topic.partitions),
            found=str(partitions),
            advice="the number of partitions is not changed in place, since keys would move: "
            "make the topic anew, or correct the catalogue",
        )
    least = min((len(partition["replicas"]) for partition in found["partitions"]), default=0)
    if least != copies:
        yield Difference(
            topic=topic.name,
            aspect=Aspect.REPLICATION,
            wanted=str(copies),
            found=str(least),
            advice="move replicas with kafka-reassign-partitions, or give --replication",
        )


def _config_differences(topic: Topic, wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterable[Difference]:
    for name, value in wanted.items():
        if found.get(name) != value:
            yield Difference(
                topic=topic.name, aspect=Aspect.CONFIG, name=name, wanted=value, found=found.get(name, "not known")
            )


def _said(words: list[Any]) -> str:
    return str(words[0]) if words and words[0] else "it gave no reason"
