"""Who is in a group and owns what: by the classic protocol, and by the newer one (KIP-848) where a group speaks it."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

DEAD = "Dead"
"""State of a group that does not exist."""
REBALANCING = ("PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling")
"""States in which partitions are being given out."""
_NOT_FOUND = 69
_MOVING = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
"""What a broker says that has just begun, or that has just become the group's coordinator: ask again."""
_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.1

_Told = TypeVar("_Told")


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A member of a group, and what it owns."""

    client_id: str
    host: str
    member_id: str
    owns: tuple[TopicPartition, ...]


async def describe(admin: Any, group: str) -> tuple[str, tuple[Member, ...]]:
    """Return a group's state as Kafka calls it, and its members in the order of their names.

    `admin` is aiokafka's, started.  A group that does not exist is Dead.  Raises KafkaError.
    """

    async def ask() -> tuple[str, list[Member]]:
        state, members = await _classic(admin, group)
        # Dead is also what the old question is answered for a group of the newer protocol.
        return await _modern(admin, group) if state == DEAD else (state, members)

    state, members = await answered(ask)
    return state, tuple(sorted(members, key=lambda member: (member.client_id, member.member_id)))


async def answered(ask: Callable[[], Awaitable[_Told]]) -> _Told:
    """Ask about groups; ask again for a while where their coordinator has just begun, or has just moved.

    Raises KafkaError.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await ask()
        except _MOVING:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_SECONDS)


async def _classic(admin: Any, group: str) -> tuple[str, list[Member]]:
    """Ask for one group at a time.

    aiokafka 0.14 asks by version 3 and reads the answer as version 2, which goes wrong from the second group of an
    answer on.
    """
    ((described, *_),) = [answer.groups for answer in await admin.describe_consumer_groups([group])]
    error, _name, state, _kind, _protocol, members = described[:6]
    if error:
        raise for_code(error)(f"group {group} cannot be described")
    return state, [_classic_member(*member) for member in members]


def _classic_member(member_id: str, client_id: str, host: str, _metadata: bytes, assignment: bytes) -> Member:
    owns: list[TopicPartition] = []
    if assignment:
        for topic, partitions in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
            owns += [TopicPartition(topic, number) for number in partitions]
    return Member(client_id, host.lstrip("/"), member_id, tuple(sorted(owns)))


async def _modern(admin: Any, group: str) -> tuple[str, list[Member]]:
    """Ask by ConsumerGroupDescribe, which aiokafka does not have; a broker before Kafka 3.7 does not either."""
    try:
        answer = await admin._send_request(_Describe(group), await admin.find_coordinator(group))  # noqa: SLF001
    except IncompatibleBrokerVersion:
        return DEAD, []
    ((error, words, _name, state, _epoch, _assigned, _assignor, members, _may, _tags),) = answer.groups
    if error == _NOT_FOUND:
        return DEAD, []
    if error:
        raise for_code(error)(f"group {group} cannot be described: {words}")
    return state, [_modern_member(*member) for member in members]


def _modern_member(
    member_id: str, _instance: Any, _rack: Any, _epoch: int, client_id: str, host: str, *rest: Any
) -> Member:
    _topics, _pattern, ((assigned, _), *_) = rest[0], rest[1], rest[2:]
    owns = (TopicPartition(topic, number) for _topic_id, topic, partitions, _tags in assigned for number in partitions)
    return Member(client_id, host.lstrip("/"), member_id, tuple(sorted(owns)))


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    """Sixteen bytes."""

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return bytes(data.read(16))

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value


_TEXT = CompactString("utf-8")
_ASSIGNMENT = Schema(
    (
        "topic_partitions",
        CompactArray(
            ("topic_id", _Uuid), ("topic_name", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
        ),
    ),
    ("tags", TaggedFields),
)
_MEMBER = (
    ("member_id", _TEXT),
    ("instance_id", _TEXT),
    ("rack_id", _TEXT),
    ("member_epoch", Int32),
    ("client_id", _TEXT),
    ("client_host", _TEXT),
    ("subscribed_topic_names", CompactArray(_TEXT)),
    ("subscribed_topic_regex", _TEXT),
    ("assignment", _ASSIGNMENT),
    ("target_assignment", _ASSIGNMENT),
)


class _Answer(Response):  # type: ignore[misc]
    """ConsumerGroupDescribe, version 0."""

    API_KEY = 69
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("group_id", _TEXT),
                ("group_state", _TEXT),
                ("group_epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor_name", _TEXT),
                ("members", CompactArray(*_MEMBER, ("tags", TaggedFields))),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    """ConsumerGroupDescribe, version 0."""

    FLEXIBLE_VERSION = True
    API_KEY = 69
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("group_ids", CompactArray(_TEXT)), ("include_authorized_operations", Boolean), ("tags", TaggedFields)
    )


class _Describe(Request[_Question]):  # type: ignore[misc]
    """Describes one group of the newer protocol."""

    API_KEY: ClassVar[int] = 69

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([self._group], False, {})
