"""Every broker of a cluster: the addresses that are set, and those that the cluster tells its clients."""

import asyncio
import dataclasses
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from agents.ops.doctor import address, tls
from agents.ops.doctor.address import SASL, TLS, Reached
from agents.ops.doctor.finding import Finding, Status, Trouble, blocked, failed, ok
from agents.ops.doctor.names import Address
from agents.settings import KafkaSettings

BOOTSTRAP: Final = "kafka.bootstrap"
LISTENERS: Final = "kafka.listeners"
_STEPS: Final = (BOOTSTRAP, TLS, SASL)
_ADDRESS_SECONDS: Final = 4.0
"""How long all steps to one address may take; addresses are tried side by side."""
_SETTING: Final = "ATTUNE_KAFKA__BOOTSTRAP"


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster says of itself, and the brokers that were reached by their node ids, each with a connection.

    `topics` holds what metadata say of each topic that was asked for, as aiokafka's tuples.
    """

    nodes: Mapping[int, Reached]
    controller: int
    topics: Mapping[str, tuple[Any, ...]]

    @property
    def any(self) -> Reached:
        """A broker that answers."""
        return next(iter(self.nodes.values()))


async def bootstrap(kafka: KafkaSettings, context: ssl.SSLContext | None) -> tuple[list[Finding], list[Reached]]:
    """Go to every address that is set; return findings of reaching, TLS and SASL, and the brokers that let us in."""
    wanted = [Address(host, port) for host, port, _ in collect_hosts(kafka.bootstrap, randomize=False)]
    tried = await _reach_all(BOOTSTRAP, wanted, kafka, context, setting=_SETTING)
    reached = [one for one in tried if isinstance(one, Reached)]
    troubles = [one for one in tried if isinstance(one, Trouble)]
    # One address that works is enough for a client; which of them it asks first is chance.
    findings = [one.finding(Status.WARNING if reached else Status.FAILED) for one in troubles]
    first = _STEPS.index(min((one.name for one in troubles), key=_STEPS.index)) if not reached else len(_STEPS)
    where = ", ".join(str(one.address) for one in reached) or ", ".join(map(str, wanted))
    told = {one.name for one in findings}
    if BOOTSTRAP not in told:
        findings.append(ok(BOOTSTRAP, f"{where} answers"))
    if not reached and first < _STEPS.index(SASL):
        left = tuple(step for step in _STEPS[first + 1 :] if step not in told and _matters(step, kafka))
        return _in_order([*findings, *blocked(left, _STEPS[first])]), []
    if TLS not in told and context is not None and reached:
        findings += [tls.lasting(TLS, str(one.address), one.certificate, _now()) for one in reached if one.certificate]
    if SASL not in told and reached and kafka.security_protocol.startswith("SASL"):
        findings.append(ok(SASL, f"{where} let in {reached[0].signed_in}"))
    return _in_order(findings), reached


async def listeners(
    reached: list[Reached], kafka: KafkaSettings, context: ssl.SSLContext | None, topics: Sequence[str]
) -> tuple[list[Finding], Cluster | None]:
    """Ask the cluster for its brokers and go to each address that it tells; topics are asked for on the way."""
    first = reached[0]
    try:
        answer = await first.connection.send(MetadataRequest(list(topics), allow_auto_topic_creation=False))
    except (KafkaError, OSError, TimeoutError) as error:
        found = f"{first.address} does not tell its brokers: {error or type(error).__name__}"
        why = "a client learns there whom to ask for what"
        return [failed(LISTENERS, found, why, "see the log of that broker")], None
    brokers = {node: Address(host, port) for node, host, port, *_ in answer.brokers}
    known = {one.address: one for one in reached}
    others = [where for where in brokers.values() if where not in known]
    setting = "advertised.listeners in the server.properties of that broker"
    met_there = await _reach_all(LISTENERS, others, kafka, context, setting=setting)
    tried = {**known, **dict(zip(others, met_there, strict=True))}
    findings = []
    nodes: dict[int, Reached] = {}
    for node, where in sorted(brokers.items()):
        met = tried[where]
        if isinstance(met, Reached):
            nodes[node] = met
            if met.certificate is not None and where not in known:
                lasting = tls.lasting(TLS, f"node {node} at {where}", met.certificate, _now())
                findings += [] if lasting.status is Status.OK else [lasting]
        else:
            findings.append(_unreachable(node, where, met))
    if not brokers:
        found = f"{first.address} knows no broker, not even itself"
        findings.append(
            failed(LISTENERS, found, "nothing can be read or written", "see the log of the controller and the brokers")
        )
    elif len(nodes) == len(brokers):
        named = ", ".join(f"node {node} at {where}" for node, where in sorted(brokers.items()))
        findings.append(ok(LISTENERS, f"every address that the cluster advertises answers: {named}"))
    for one in reached:
        if one not in nodes.values():
            await address.close(one.connection)
    told = {topic[1]: tuple(topic) for topic in answer.topics}
    return findings, Cluster(nodes, answer.controller_id, {name: told[name] for name in topics})


def _unreachable(node: int, where: Address, trouble: Trouble) -> Finding:
    return failed(
        LISTENERS,
        f"the cluster advertises node {node} at {where}, and there: {trouble.found}",
        "clients ask the bootstrap address only once and then go there: they wait for that node's partitions for ever, "
        "though the bootstrap answers",
        f"correct advertised.listeners in the server.properties of node {node} to an address that this machine "
        f"reaches (in containers each network needs a listener of its own), or: {trouble.remedy}",
    )


async def _reach_all(
    name: str, wanted: Iterable[Address], kafka: KafkaSettings, context: ssl.SSLContext | None, *, setting: str
) -> list[Reached | Trouble]:
    async def one(where: Address) -> Reached | Trouble:
        try:
            async with asyncio.timeout(_ADDRESS_SECONDS):
                return await address.reach(name, where, kafka, context, setting=setting)
        except Trouble as trouble:
            return trouble
        except TimeoutError:
            found = f"{where} let nobody in within {_ADDRESS_SECONDS:g} s"
            why = "clients give up before it answers"
            return Trouble(name, found, why, "see whether that broker, or the way to it, is overloaded")

    return list(await asyncio.gather(*(one(where) for where in wanted)))


def _matters(step: str, kafka: KafkaSettings) -> bool:
    return ("SSL" if step == TLS else "SASL") in kafka.security_protocol.replace("SASL_SSL", "SASL SSL")


def _in_order(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: _STEPS.index(one.name))


def _now() -> datetime:
    return datetime.now(UTC)
