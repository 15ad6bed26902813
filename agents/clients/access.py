"""Whether a user may do what a worker needs, asked before it starts: a right that is missing later looks like silence.

Without the right to its group or to read its topic a consumer waits for ever, and so would a worker.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest

from agents.clients import kafka
from agents.errors import AttuneError
from agents.settings import KafkaSettings

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 15.0
_POLL_MS = 100


async def check(connection: KafkaSettings, role: str, *, group: str, topics: Sequence[str]) -> None:
    """Raise AttuneError, which names the ACL to add, where the user may not join a group or read a topic.

    A cluster that does not answer is no answer: the worker starts and waits for it as always.  Where clients are not
    told apart nothing is asked.
    """
    if connection.security_protocol == "PLAINTEXT":
        return
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            visible = await _visible_after_joining(connection, role, group)
            for topic in topics:
                await _read(connection, role, topic, visible=topic in visible)
    except (TimeoutError, KafkaError, OSError) as error:
        logger.warning("whether the %s has its rights is not known: %s", role, str(error) or type(error).__name__)


async def _visible_after_joining(connection: KafkaSettings, role: str, group: str) -> list[str]:
    """Send a heartbeat of a member that does not exist, and return the topics that the user may see.

    The heartbeat changes nothing and needs the right that joining needs.
    """
    admin = kafka.admin(connection)
    try:
        await admin.start()
        node = await _coordinator(admin, group)
        answer: Any = await admin._send_request(HeartbeatRequest(group, 0, "attune-access"), node)  # noqa: SLF001
        if for_code(answer.error_code) is GroupAuthorizationFailedError:
            raise GroupAuthorizationFailedError(group)
        visible: list[str] = await admin.list_topics()
    except GroupAuthorizationFailedError as error:
        raise _missing(connection, role, f"may not join the group {group}", f"--group {group}") from error
    finally:
        await admin.close()
    return visible


async def _coordinator(admin: Any, group: str) -> int:
    """Return the node that keeps a group; a cluster that has never had one finds it after a moment."""
    while True:
        try:
            return int(await admin.find_coordinator(group))
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(_POLL_MS / 1000)


async def _read(connection: KafkaSettings, role: str, topic: str, *, visible: bool) -> None:
    """Fetch from the end of a topic's first partition until the broker has answered."""
    if not visible:
        raise _missing(connection, role, f"may not see the topic {topic}, or there is none", f"--topic {topic}")
    consumer = kafka.consumer(connection)
    tp = TopicPartition(topic, 0)
    try:
        await consumer.start()
        consumer.assign([tp])
        consumer.seek(tp, (await consumer.end_offsets([tp]))[tp])
        while consumer.highwater(tp) is None:
            await consumer.getmany(tp, timeout_ms=_POLL_MS)
    except TopicAuthorizationFailedError as error:
        raise _missing(connection, role, f"may not read the topic {topic}", f"--topic {topic}") from error
    finally:
        await consumer.stop()


def _missing(connection: KafkaSettings, role: str, what: str, resource: str) -> AttuneError:
    user = f"User:{connection.sasl_username}" if connection.sasl_username else "the principal of ssl_certfile"
    return AttuneError(
        f"{user} {what}: the {role} would wait for ever",
        f"add the ACL: kafka-acls.sh --add --allow-principal {user} --operation Read {resource}; "
        f"`attune acls {role}` prints all that it needs",
    )
