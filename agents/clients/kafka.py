"""Clients of Kafka, not yet started.

The time-outs decide survival: with aiokafka's defaults a frozen leader stops a client for its whole
freeze, with these it was 5 s to produce and 11 s to consume.
"""

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from faust.types.auth import AuthProtocol

from agents.errors import UsageError
from agents.settings import KafkaSettings, variable

_SURVIVAL: dict[str, Any] = {"metadata_max_age_ms": 5_000, "retry_backoff_ms": 100}
_BATCH_BYTES = 1_048_576
"""What any topic takes: after an outage batches fill up, and one over the topic's `max.message.bytes` is never sent."""
LARGE_BATCH_BYTES = 1_100_000
"""For those who append batches of their own making to topics that take more: the engine, and the copies of a split."""
_NEVER_MS = 2**31 - 1
"""A worker that waits (for Valkey, a document, a long restore) does not poll; its heartbeats say that it lives.  With
aiokafka's five minutes it would leave its group then, and not come back, since it joins again only when it polls."""


def producer(connection: KafkaSettings, **overrides: Any) -> AIOKafkaProducer:
    """Return an idempotent producer whose batches hold up to a mebibyte."""
    options = {
        "enable_idempotence": True,
        "request_timeout_ms": 5_000,
        "max_batch_size": _BATCH_BYTES,
        "max_request_size": 4 * _BATCH_BYTES,
        **_common(connection),
        **overrides,
    }
    return AIOKafkaProducer(**options)


class _Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that does not take a coordinator's refusal for a group that has committed nothing.

    Since Kafka 0.10.2 a coordinator that is still loading its groups, as after a restart of its broker, says so once
    for a whole answer and names no partition.  aiokafka 0.14 looks at partitions alone: a reader would begin again at
    the beginning.  The private names are held by tests/agents/clients/test_kafka.py.
    """

    @property
    def _coordinator(self) -> Any:
        return self.__dict__.get("_coordinator")

    @_coordinator.setter
    def _coordinator(self, made: Any) -> None:
        self.__dict__["_coordinator"] = made
        if not isinstance(made, GroupCoordinator):
            return  # of a consumer without a group
        send = made._send_req  # noqa: SLF001

        async def checked(request: Any) -> Any:
            answer = await send(request)
            try:
                _raise_refusal(request, answer)
            except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
                made.coordinator_dead()
                raise
            return answer

        made._send_req = checked  # noqa: SLF001


class _Admin(AIOKafkaAdminClient):  # type: ignore[misc]
    """An admin client that raises where a coordinator refuses to tell what a group has committed, as above."""

    async def _send_request(self, request: Any, node_id: int | None = None) -> Any:
        answer = await super()._send_request(request, node_id)
        _raise_refusal(request, answer)
        return answer


def _raise_refusal(request: Any, answer: Any) -> None:
    code = getattr(answer, "error_code", 0) if isinstance(request, OffsetFetchRequest) else 0
    if code:
        raise for_code(code)("the group's coordinator does not tell what was committed")


def consumer(connection: KafkaSettings, *topics: str, group: str | None = None, **overrides: Any) -> AIOKafkaConsumer:
    """Return a consumer that commits nothing by itself; without a group it belongs to none.

    An offset outside the log is an error, never a silent jump, unless `auto_offset_reset` says otherwise.
    """
    options = {
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "request_timeout_ms": 11_000,
        "session_timeout_ms": 10_000,
        "heartbeat_interval_ms": 1_000,
        "max_poll_interval_ms": _NEVER_MS,
        "fetch_max_wait_ms": 50,
        **_common(connection),
        **overrides,
    }
    return _Consumer(*topics, **options)


def admin(connection: KafkaSettings, **overrides: Any) -> AIOKafkaAdminClient:
    """Return an admin client.  Its calls return error codes: check them."""
    options = {"request_timeout_ms": 15_000, **_common(connection), **overrides}
    return _Admin(**options)


def faust_options(connection: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments of `faust.App` that say how Kafka is reached."""
    context = ssl_context(connection)
    if connection.security_protocol.startswith("SASL"):
        credentials: Any = faust.SASLCredentials(
            username=connection.sasl_username,
            password=_password(connection),
            mechanism=connection.sasl_mechanism,
            ssl_context=context,
        )
        credentials.protocol = AuthProtocol[connection.security_protocol]
        return {"broker_credentials": credentials}
    if context is not None:
        return {"broker_credentials": faust.SSLCredentials(context)}
    return {}


def ssl_context(connection: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context of a connection, or None where it uses no TLS.

    Raises UsageError, naming setting and file, when one is missing or no certificate.
    """
    if "SSL" not in connection.security_protocol:
        return None
    with _of(ssl_cafile=connection.ssl_cafile):
        context = ssl.create_default_context(cafile=_text(connection.ssl_cafile))
    if connection.ssl_certfile is not None:
        with _of(ssl_certfile=connection.ssl_certfile, ssl_keyfile=connection.ssl_keyfile):
            context.load_cert_chain(str(connection.ssl_certfile), _text(connection.ssl_keyfile))
    return context


@contextlib.contextmanager
def _of(**files: Path | None) -> Iterator[None]:
    """Name settings and files in an error of reading them: that of the TLS library names none."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one, too
        named = " and ".join(f"{variable(f'kafka.{name}')} ({path})" for name, path in files.items())
        raise UsageError(f"{named} cannot be used: {error.strerror or error}", "it must be a file in PEM") from error


def _common(connection: KafkaSettings) -> Mapping[str, Any]:
    if connection.bootstrap is None:
        raise ValueError("kafka.bootstrap is not set and no embedded platform was started for this process")
    options: dict[str, Any] = {
        **_SURVIVAL,
        "bootstrap_servers": connection.bootstrap,
        "client_id": "attune",
        "security_protocol": connection.security_protocol,
    }
    context = ssl_context(connection)
    if context is not None:
        options["ssl_context"] = context
    if connection.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = connection.sasl_mechanism
        options["sasl_plain_username"] = connection.sasl_username
        options["sasl_plain_password"] = _password(connection)
    return options


def _password(connection: KafkaSettings) -> str:
    return "" if connection.sasl_password is None else connection.sasl_password.get_secret_value()


def _text(path: Any) -> str | None:
    return None if path is None else str(path)
