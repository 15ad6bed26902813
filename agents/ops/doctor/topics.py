"""Topics against the catalogue, as far as this user may look, and whether every partition can be written."""

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest

from agents.ops import topics as by_catalogue
from agents.ops.doctor.case import Case
from agents.ops.doctor.finding import Finding, failed, not_known, ok, warning
from agents.ops.doctor.rights import may
from agents.ops.topics import Aspect, Difference
from schemas.catalogue import Catalogue
from schemas.topics import APPROVALS, JOURNAL

TOPICS: Final = "topics"
PARTITIONS: Final = "topics.partitions"
COPIES: Final = "topics.copies"
APPEND_TIME: Final = "LogAppendTime"
_NOT_TOLD: Final = "not known"
_TOPIC: Final = 2
_SAFE_COPIES: Final = 3
_COPIES: Final = ("replication", "min.insync.replicas")
_WHY: Final = {
    "unclean.leader.election.enable": "a replica that is behind may become leader: acknowledged records are lost, and "
    "states no longer agree with the journal",
    "message.timestamp.type": "latency, lag, freshness and retention go by the brokers' append times: with the "
    "producers' own times they are wrong, and a replay of old events is deleted at once",
    "cleanup.policy": "records are deleted or compacted away that others still need",
    "retention.ms": "records are deleted before those who need them have read them, or kept longer than was promised",
    "min.compaction.lag.ms": "the changelog may be compacted while a fold that was overtaken can still append to it: "
    "states are then rebuilt from the journal, which takes long",
    "delete.retention.ms": "a tombstone that a fold appended late may be gone before anybody repairs what it deleted",
    "max.message.bytes": "the broker refuses large records that the role before has accepted: that partition stops",
}
_APPLY: Final = "`attune topics apply`, run as the user of the deployer"


class Seen:
    """What may be seen of the topics: an admin client to `agents.ops.topics`, which asks for nothing forbidden."""

    def __init__(
        self, topics: Mapping[str, tuple[Any, ...]], operations: Mapping[str, frozenset[str]], send: Any
    ) -> None:
        """Take what metadata say of topics (`Cluster.topics`), what this user may do with them, and a way to ask."""
        self._topics = topics
        self._send = send
        self.operations = operations

    def present(self) -> list[str]:
        """Return the topics that exist, as far as this user may see them."""
        return [name for name, topic in self._topics.items() if not _error(topic)]

    def with_error(self, error: type[Exception]) -> list[str]:
        """Return the topics of which the brokers say nothing but this error."""
        return [name for name, topic in self._topics.items() if _error(topic) is error]

    def readable(self) -> list[str]:
        """Return the topics whose configuration this user may read."""
        return [name for name in self.present() if may(self.operations, name, "DescribeConfigs")]

    def partitions(self, topic: str) -> list[Mapping[str, Any]]:
        """Return number, leader (-1 for none), replicas and in-sync replicas of each partition of a topic."""
        return [
            {"partition": number, "leader": leader, "replicas": replicas, "isr": isr}
            for _, number, leader, replicas, isr, *_ in sorted(self._topics[topic][3], key=lambda one: one[1])
        ]

    async def describe_topics(self) -> list[Mapping[str, Any]]:
        """Return topics as aiokafka's admin client does."""
        return [{"topic": name, "partitions": self.partitions(name)} for name in self.present()]

    async def describe_configs(self, resources: Sequence[Any]) -> list[Any]:
        """Return configurations as aiokafka's admin client does; those that are forbidden are empty."""
        allowed = set(self.readable())
        asked = [(_TOPIC, one.name, None) for one in resources if one.name in allowed]
        forbidden: list[Any] = [(0, "", _TOPIC, one.name, []) for one in resources if one.name not in allowed]
        answers = [await self._send(DescribeConfigsRequest(asked))] if asked else []
        return [*answers, SimpleNamespace(resources=forbidden)]


async def look(case: Case, seen: Seen) -> list[Finding]:
    """Compare the topics that may be seen with the catalogue; the role decides which of the others matter."""
    needed = _needed(case)
    absent = [name for name in seen.with_error(UnknownTopicOrPartitionError) if name in needed]
    hidden = [name for name in seen.with_error(TopicAuthorizationFailedError) if name in needed]
    catalogue = await _catalogue(case, seen)
    visible = {name: topic for name, topic in catalogue.topics.items() if name in seen.present() and name in needed}
    differences = await by_catalogue.compare(
        seen, msgspec.structs.replace(catalogue, topics=visible), replication=_copies(case)
    )
    told = [one for one in differences if one.found != _NOT_TOLD]
    findings = [*_absent(absent), *(_finding(one) for one in told if not _of_copies(one))]
    closed = sorted({one.topic for one in differences if one.found == _NOT_TOLD})
    if visible and not findings:
        findings.append(ok(TOPICS, f"{_number(len(visible))} looked at, as the catalogue says"))
    if hidden:
        findings.append(not_known(TOPICS, f"{case.principal} may not describe {', '.join(hidden)}"))
    if closed:
        findings.append(not_known(TOPICS, f"{case.principal} may not read the configuration of {', '.join(closed)}"))
    if visible:
        configs = await by_catalogue.topic_configs(seen, list(visible))
        findings += _health(seen, {name: _least(case, catalogue, name, configs[name]) for name in visible})
        findings += _safety(case, seen, [one for one in told if _of_copies(one)], configs)
    return findings


async def append_times(seen: Seen) -> list[str]:
    """Return the topics whose records bear the brokers' time, or whose configuration may not be read.

    The journal comes first: the coordinator's ticks are appended to each of its partitions.
    """
    configs = await by_catalogue.topic_configs(seen, seen.present())
    present = sorted(seen.present(), key=lambda name: name != JOURNAL)
    return [name for name in present if configs[name].get("message.timestamp.type", APPEND_TIME) == APPEND_TIME]


def _needed(case: Case) -> set[str]:
    """Return the topics that a role needs, without a role all."""
    if case.role is None:
        return set(case.catalogue.topics)
    return {grant.name for grant in case.grants[case.role] if grant.name in case.catalogue.topics}


async def _catalogue(case: Case, seen: Seen) -> Catalogue:
    """Return the catalogue of this cluster: its journal may have been split."""
    if not (APPROVALS in seen.present() and may(seen.operations, APPROVALS, "Read")):
        return case.catalogue
    return case.catalogue.split(JOURNAL, await case.partitions(case.settings))


def _absent(absent: Sequence[str]) -> Iterator[Finding]:
    if absent:
        yield failed(
            TOPICS,
            f"there is no topic {', '.join(absent)}",
            "who reads or writes it waits for it for ever",
            f"{_APPLY}, creates what is missing; `attune topics plan` shows it first",
        )


def _finding(one: Difference) -> Finding:
    why = _WHY.get(one.name, "Attune is tested with what the catalogue says")
    if one.aspect is Aspect.PARTITIONS:
        why = "customers are placed by the number of partitions: with another one records of a customer part ways"
    remedy = f"{_APPLY}, sets it" if one.appliable else one.advice
    what = one.name or str(one.aspect)
    return failed(TOPICS, f"{one.topic}: {what} is {one.found}, the catalogue says {one.wanted}", why, remedy)


def _health(seen: Seen, least: Mapping[str, int]) -> Iterator[Finding]:
    """Say which partitions cannot be read or written, and which have lost copies."""
    leaderless, closed, behind = [], [], []
    for topic in least:
        for one in seen.partitions(topic):
            where = f"{topic}-{one['partition']}"
            copies = f"{where} ({len(one['isr'])} of {len(one['replicas'])} in sync)"
            if one["leader"] < 0:
                leaderless.append(where)
            elif len(one["isr"]) < least[topic]:
                closed.append(copies)
            elif len(one["isr"]) < len(one["replicas"]):
                behind.append(copies)
    remedy = "start the brokers that are down; kafka-topics.sh --describe --unavailable-partitions names their nodes"
    if leaderless:
        yield failed(PARTITIONS, f"no leader: {', '.join(leaderless)}", "these can be neither read nor written", remedy)
    if closed:
        yield failed(
            PARTITIONS,
            f"fewer copies in sync than min.insync.replicas asks: {', '.join(closed)}",
            "brokers refuse to write these, so that routers and folds wait",
            remedy,
        )
    if behind:
        yield warning(
            PARTITIONS,
            f"copies are not in sync: {', '.join(behind)}",
            "another broker that fails may stop these",
            "start the brokers that are down, or wait until they have caught up",
        )
    if not (leaderless or closed or behind):
        yield ok(PARTITIONS, "every partition has a leader and all its copies in sync")


def _safety(
    case: Case, seen: Seen, differences: Sequence[Difference], configs: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """Warn of fewer copies than survive the loss of a broker."""
    few = []
    for topic, config in configs.items():
        copies = min((len(one["replicas"]) for one in seen.partitions(topic)), default=0)
        least = config.get("min.insync.replicas")
        if copies < _SAFE_COPIES or (least is not None and int(least) < _SAFE_COPIES - 1):
            few.append(f"{topic} ({copies}{'' if least is None else f', {least} in sync'})")
    if case.embedded:
        yield ok(COPIES, "the embedded platform keeps one copy of each topic: enough for a trial")
        return
    told = [f"{one.topic}: {one.name or one.aspect} is {one.found}, wanted {one.wanted}" for one in differences]
    if few:
        yield warning(
            COPIES,
            f"fewer than {_SAFE_COPIES} copies or {_SAFE_COPIES - 1} in sync: {', '.join(few)}",
            "the loss of one broker stops these topics, or loses what was acknowledged",
            f"in production keep {_SAFE_COPIES} copies: at least {_SAFE_COPIES} brokers, "
            "ATTUNE_KAFKA__REPLICATION_FACTOR not set, kafka-reassign-partitions.sh to add copies, and "
            f"{_APPLY}, for min.insync.replicas",
        )
    elif told:
        yield warning(
            COPIES,
            "; ".join(told),
            "it is not what the catalogue or ATTUNE_KAFKA__REPLICATION_FACTOR asks for",
            "move replicas with kafka-reassign-partitions.sh, or correct ATTUNE_KAFKA__REPLICATION_FACTOR",
        )
    else:
        yield ok(COPIES, f"at least {_SAFE_COPIES} copies of every topic, as far as this user sees them")


def _of_copies(one: Difference) -> bool:
    return one.aspect is Aspect.REPLICATION or one.name == "min.insync.replicas"


def _least(case: Case, catalogue: Catalogue, name: str, config: Mapping[str, str]) -> int:
    wanted = catalogue.settings(catalogue.topics[name], _copies(case))
    return int(config.get("min.insync.replicas", wanted["min.insync.replicas"]))


def _copies(case: Case) -> int | None:
    return case.settings.kafka.replication_factor


def _number(count: int) -> str:
    return f"{count} topic{'s' if count != 1 else ''}"


def _error(topic: tuple[Any, ...]) -> type[Exception] | None:
    return for_code(topic[0]) if topic[0] else None
