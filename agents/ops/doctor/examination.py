"""All checks: side by side where they are independent, each bounded in time, none changing anything."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka.errors import KafkaError

from agents.errors import AttuneError
from agents.ops.doctor import brokers, clock, machine, redis, registry, rights, topics
from agents.ops.doctor.address import TLS, Reached, close
from agents.ops.doctor.brokers import BOOTSTRAP, LISTENERS, Cluster
from agents.ops.doctor.case import Case
from agents.ops.doctor.clock import CLOCK
from agents.ops.doctor.finding import Finding, Status, blocked, bounded, failed, not_known, ok
from agents.ops.doctor.registry import REGISTRY
from agents.ops.doctor.rights import RIGHTS
from agents.ops.doctor.topics import COPIES, PARTITIONS, TOPICS, Seen
from agents.settings import names, variable

_LISTENERS_SECONDS: Final = 4.5
_LOOK_SECONDS: Final = 4.0
_OTHERS_SECONDS: Final = 9.0
SETTINGS: Final = "settings"
ON_THE_CLUSTER: Final = (RIGHTS, TOPICS, PARTITIONS, COPIES, CLOCK)
"""What is looked at once the cluster answers."""


async def examine(case: Case) -> list[Finding]:
    """Return what every check found, in the order in which one would mend it."""
    on_kafka, keys, views, schemas = await asyncio.gather(
        _kafka(case),
        bounded(redis.KEYS, redis.look(case, redis.KEYS), _OTHERS_SECONDS),
        bounded(redis.VIEWS, redis.look(case, redis.VIEWS), _OTHERS_SECONDS),
        bounded(REGISTRY, registry.look(case), _OTHERS_SECONDS),
    )
    here = machine.look(case.settings, case.role, embedded=case.embedded)
    return [ok(SETTINGS, "read; `attune settings` lists them"), *here, *on_kafka, *keys, *views, *schemas]


def without_settings(error: AttuneError) -> list[Finding]:
    """Return what can be said where settings are invalid or name what cannot be used."""
    why = "no command of Attune begins with it"
    named = [variable(name) for name, _ in names() if name in error.message]
    remedy = f"set {' and '.join(named)} right; {error.hint}" if named else error.hint
    return [
        failed(SETTINGS, error.message, why, remedy),
        *machine.without_settings(),
        *blocked((BOOTSTRAP, LISTENERS, *ON_THE_CLUSTER, redis.KEYS, REGISTRY), SETTINGS),
    ]


async def _kafka(case: Case) -> list[Finding]:
    """Look at the brokers, then at what only a cluster that answers can tell."""
    if case.role is not None and not case.grants[case.role]:
        return [ok(BOOTSTRAP, f"the role {case.role} does not use Kafka")]
    if case.settings.kafka.bootstrap is None:
        found = f"not set, and no embedded Kafka runs under {case.settings.home}"
        remedy = "start one with `attune local up`, or set ATTUNE_KAFKA__BOOTSTRAP=host:9092"
        return [
            failed(BOOTSTRAP, found, "everything goes through Kafka", remedy),
            *blocked((LISTENERS, *ON_THE_CLUSTER), BOOTSTRAP),
        ]
    if case.tls_error is not None:
        why = "no client can shake hands with a broker"
        return [
            failed(TLS, case.tls_error.message, why, case.tls_error.hint),
            *blocked((BOOTSTRAP, LISTENERS, *ON_THE_CLUSTER), TLS),
        ]
    cluster: Cluster | None = None
    reached: list[Reached] = []

    async def go_round() -> list[Finding]:
        nonlocal cluster
        kafka, wanted = case.settings.kafka, list(case.catalogue.topics)
        found, cluster = await brokers.listeners(reached, kafka, case.context, wanted)
        return found

    try:
        findings, reached = await brokers.bootstrap(case.settings.kafka, case.context)
        if not reached:
            by = next(one.name for one in findings if one.status is Status.FAILED)
            return [*findings, *blocked((LISTENERS, *ON_THE_CLUSTER), by)]
        findings += await bounded(LISTENERS, go_round(), _LISTENERS_SECONDS)
        if cluster is None or not cluster.nodes:
            return [*findings, *blocked(ON_THE_CLUSTER, LISTENERS)]
        return [*findings, *await _cluster(case, cluster)]
    finally:
        others = () if cluster is None else cluster.nodes.values()
        await asyncio.gather(*(close(one.connection) for one in {id(one): one for one in (*reached, *others)}.values()))


async def _cluster(case: Case, cluster: Cluster) -> list[Finding]:
    send = cluster.any.connection.send

    async def seen() -> Seen:
        return Seen(cluster.topics, await case.operations(send, list(case.catalogue.topics)), send)

    async def on_topics() -> list[Finding]:
        return await topics.look(case, await seen())

    async def on_clock() -> list[Finding]:
        told = await topics.append_times(await seen())
        return await clock.look(cluster, told, stale_seconds=case.settings.views.stale_seconds, now=case.now)

    async def on_rights() -> list[Finding]:
        return await rights.look(case, send)

    found = await asyncio.gather(
        *(
            bounded(name, _told(name, work), _LOOK_SECONDS)
            for name, work in ((RIGHTS, on_rights), (TOPICS, on_topics), (CLOCK, on_clock))
        )
    )
    return [one for findings in found for one in findings]


async def _told(name: str, work: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Return the findings of a check; where the cluster stops answering or refuses, that is why nothing is known."""
    try:
        return await work()
    except AttuneError as error:
        return [not_known(name, error.message, error.hint)]
    except (KafkaError, OSError) as error:
        return [not_known(name, f"the cluster did not answer as it should: {error or type(error).__name__}")]
