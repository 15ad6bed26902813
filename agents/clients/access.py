"""Whether a user may do what a role needs, asked of the broker before anything hangs on it.

A right that is missing looks like silence: without the right to its group or to read its topic a consumer waits for
ever.  Nothing here changes anything on the cluster, and any broker can answer: it judges the right first.

- Topics: metadata say what the user may do with each, and tell a topic that there is none of from one that is hidden.
- Groups: to read, a heartbeat of a member that does not exist; to describe, a description.
- Transactions: the end of one that nobody has begun.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String
from cryptography import x509

from agents.clients import kafka
from agents.errors import AttuneError
from agents.settings import KafkaSettings

logger = logging.getLogger(__name__)

Send = Callable[[Any], Awaitable[Any]]
"""Sends one of aiokafka's requests to any broker and returns its answer."""

ANY: Final = "*"
_PATIENCE_SECONDS: Final = 15.0
_NOBODY: Final = "attune-access"
"""Member, group and end of a transaction's name that nobody uses."""
_BITS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}
"""Where each operation stands in a broker's answer; the numbers are Kafka's."""
_NOT_TOLD: Final = -(2**31)
"""What a broker answers that knows nobody's rights."""
_EVERY: Final = -1
_OPTIONS: Final = {"topic": "--topic", "group": "--group", "transactionalId": "--transactional-id"}


class Wanted(Protocol):
    """Operations on one resource, or with `prefixed` on all whose names begin so; agents.acls.Grant is one."""

    @property
    def resource(self) -> str:
        """Kind: topic, group, transactionalId."""

    @property
    def name(self) -> str:
        """Its name, or `*` for all of the kind."""

    @property
    def operations(self) -> Sequence[str]:
        """Rights as kafka-acls.sh spells them."""

    @property
    def prefixed(self) -> bool:
        """Whether the name is only the beginning."""


class Right(NamedTuple):
    """One operation on one resource, or with `prefixed` on all whose names begin so."""

    resource: str
    name: str
    operation: str
    prefixed: bool = False

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource} {self.name}{'...' if self.prefixed else ''}"

    def command(self, user: str) -> str:
        """Return what gives the right to a principal."""
        pattern = " --resource-pattern-type prefixed" if self.prefixed else ""
        name = f"'{self.name}'" if self.name == ANY else self.name
        return (
            f"kafka-acls.sh --add --allow-principal {user} --operation {self.operation} "
            f"{_OPTIONS[self.resource]} {name}{pattern}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Rights:
    """What was found: the rights that are missing, and topics of which there are none as far as the user may see."""

    missing: tuple[Right, ...]
    absent: frozenset[str]


async def rights(send: Send, wanted: Iterable[Wanted]) -> Rights:
    """Return which of some rights the user lacks.  Raises KafkaError and OSError of a cluster that does not answer.

    A topic that does not exist has rights, too: who may describe it is told that there is none.
    """
    asked = list(wanted)
    found, absent = await _topics(send, sorted({one.name for one in asked if one.resource == "topic"}))
    missing = []
    for one in asked:
        for operation in one.operations:
            right = Right(str(one.resource), one.name, str(operation), one.prefixed)
            if one.resource == "topic":
                has = bool(found[one.name] >> _BITS[right.operation] & 1)
            elif one.resource == "group":
                has = await _group(send, right)
            else:
                has = await _transaction(send, right)
            if not has:
                missing.append(right)
    return Rights(tuple(missing), frozenset(absent))


async def topic_operations(send: Send, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return what the user may do with topics; nothing of one that it may not even see."""
    found, _ = await _topics(send, names)
    return {name: frozenset(word for word, bit in _BITS.items() if bits >> bit & 1) for name, bits in found.items()}


async def check(connection: KafkaSettings, role: str, wanted: Iterable[Wanted]) -> None:
    """Raise AttuneError, which names the ACL to add, where the user lacks a right of a role.

    A cluster that does not answer is no answer: the worker starts and waits for it as always.  Where clients are not
    told apart nothing is asked.
    """
    if connection.security_protocol == "PLAINTEXT":
        return
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), _sender(connection) as send:
            found = await rights(send, wanted)
    except (TimeoutError, KafkaError, OSError) as error:
        logger.warning("whether the %s has its rights is not known: %s", role, str(error) or type(error).__name__)
        return
    for right in found.missing:
        user = principal(connection)
        raise AttuneError(
            f"{user} {_may_not(right)}: the {role} would wait for ever or end over it",
            f"add the ACL: {right.command(user)}; `attune acls {role}` prints all that it needs, "
            f"`attune doctor --role {role}` tries all of them",
        )
    if found.absent:
        raise AttuneError(
            f"there is no topic {', '.join(sorted(found.absent))}: the {role} would wait for ever",
            "`attune topics apply`, as the user of the deployer, creates what is missing",
        )


def principal(connection: KafkaSettings) -> str:
    """Return who the brokers take this user for, as kafka-acls.sh wants to be told."""
    if connection.security_protocol.startswith("SASL"):
        return f"User:{connection.sasl_username}"
    if connection.ssl_certfile is None:
        return "User:ANONYMOUS"
    try:
        shown = x509.load_pem_x509_certificate(connection.ssl_certfile.read_bytes())
    except (OSError, ValueError):
        return f"'User:<the subject of {connection.ssl_certfile}>'"
    return f"'User:{shown.subject.rfc4514_string()}'"


def _may_not(right: Right) -> str:
    if right.resource == "group" and right.operation == "Read":
        return f"may not join the group {right.name}"
    if right.resource == "topic" and right.operation in ("Read", "Write"):
        return f"may not {right.operation.lower()} {right.name}"
    return f"lacks the right {right}"


@contextlib.asynccontextmanager
async def _sender(connection: KafkaSettings) -> AsyncIterator[Send]:
    admin = kafka.admin(connection)
    try:
        await admin.start()
        yield admin._send_request  # noqa: SLF001 - the public calls send no heartbeat
    finally:
        await admin.close()


async def _topics(send: Send, names: Sequence[str]) -> tuple[dict[str, int], set[str]]:
    """Return of each topic what the user may do, as Kafka's bits, and of which there are none."""
    if not names:
        return {}, set()
    try:
        answer = await send(_Metadata(names))
    except NotImplementedError as lacking:  # aiokafka's word for a version that the broker does not have
        raise IncompatibleBrokerVersion("brokers before Kafka 2.3 do not tell what a user may do") from lacking
    found, absent = dict.fromkeys(names, 0), set()
    for code, name, _internal, _partitions, operations in answer.topics:
        error = for_code(code)
        if error is UnknownTopicOrPartitionError:
            absent.add(name)
        if error is not TopicAuthorizationFailedError:
            found[name] = _EVERY if operations == _NOT_TOLD else operations
    return found, absent


async def _group(send: Send, right: Right) -> bool:
    group = _NOBODY if right.name == ANY else f"{right.name}{_NOBODY if right.prefixed else ''}"
    if right.operation == "Describe":
        ((code, *_), *_) = (await send(DescribeGroupsRequest([group]))).groups
    else:
        code = (await send(HeartbeatRequest(group, 0, _NOBODY))).error_code
    return for_code(code) is not GroupAuthorizationFailedError


async def _transaction(send: Send, right: Right) -> bool:
    name = f"{right.name}{_NOBODY}" if right.prefixed else right.name
    answer = await send(EndTxnRequest(name, -1, -1, False))
    return for_code(answer.error_code) is not TransactionalIdAuthorizationFailed


class _Answer(Response):  # type: ignore[misc]
    """Metadata, version 8: the first that says what the user may do."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("authorized_operations", Int32),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    """Metadata, version 8."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Metadata(Request[_Question]):  # type: ignore[misc]
    """Asks for topics by their names, creates none, and wants to know what the user may do with them."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(self._names, False, False, True)
