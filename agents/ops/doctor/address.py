"""One address of a broker: what keeps a client from it, looked at step by step as a client goes.

aiokafka tells a client only that it found no broker, so each step is taken here alone: name, port, TLS, the protocol,
SASL.  Nothing is sent that changes anything.
"""

import asyncio
import contextlib
import dataclasses
import ssl
import struct
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import IllegalSaslStateError, KafkaError, SaslAuthenticationFailed, for_code
from aiokafka.protocol.admin import SaslHandShakeRequest

from agents.ops.doctor import tls
from agents.ops.doctor.finding import Trouble
from agents.ops.doctor.names import STEP_SECONDS, Address, open_port
from agents.settings import KafkaSettings

TLS: Final = "kafka.tls"
SASL: Final = "kafka.sasl"
_API_VERSIONS: Final = struct.pack(">ihhih", 16, 18, 0, 1, 6) + b"attune"
_ALERT: Final = b"\x15\x03"
"""How an alert of TLS begins."""
_LARGEST_ANSWER: Final = 100_000
_NEEDED: Final = "no client of Attune gets in, so nothing works"


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """A broker that let this user in: an open connection, to be closed, and what was seen on the way."""

    address: Address
    connection: AIOKafkaConnection
    certificate: tls.Certificate | None
    signed_in: str


async def reach(
    name: str, address: Address, kafka: KafkaSettings, context: ssl.SSLContext | None, *, setting: str
) -> Reached:
    """Go to a broker as a client would.  Raises Trouble, whose `name` is that of the step; `name` is the first one's.

    `setting` says where the address comes from.
    """
    await open_port(name, address, setting=setting, server="Kafka")
    shown = None
    if context is not None:
        shown = await _shake_hands(address, kafka, context)
    else:
        await _speak_plainly(name, address, kafka)
    await _offer(name, address, kafka, context)
    connection = _connection(address, kafka, context, kafka.security_protocol)
    try:
        await connection.connect()
    except SaslAuthenticationFailed as error:
        raise Trouble(
            SASL,
            f"{address} refused the password of user {kafka.sasl_username} ({kafka.sasl_mechanism}): {error.args[0]}",
            _NEEDED,
            "correct ATTUNE_KAFKA__SASL_USERNAME and ATTUNE_KAFKA__SASL_PASSWORD; a user without a password for this "
            "mechanism is refused alike: kafka-configs.sh --alter --entity-type users --entity-name "
            f"{kafka.sasl_username} --add-config '{kafka.sasl_mechanism}=[password=...]' gives it one",
        ) from error
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        raise _silent(SASL if kafka.security_protocol.startswith("SASL") else name, address, error) from error
    signed_in = f"user {kafka.sasl_username} by {kafka.sasl_mechanism}" if kafka.sasl_username else "no user"
    return Reached(address, connection, shown, signed_in if kafka.security_protocol.startswith("SASL") else "no user")


async def _shake_hands(address: Address, kafka: KafkaSettings, context: ssl.SSLContext) -> tls.Certificate:
    """Return the certificate; Trouble says what is wrong with it, or that the port speaks no TLS."""
    try:
        async with asyncio.timeout(STEP_SECONDS):
            return await tls.handshake(*address, context)
    except ssl.SSLCertVerificationError as error:
        shown = await tls.look_at(*address)
        now = f"it is {kafka.ssl_cafile}" if kafka.ssl_cafile else "now it is not set, so that the system's count"
        raise tls.refused(TLS, str(address), error, shown, now) from error
    except TimeoutError as error:
        raise _mute(TLS, address) from error
    except (OSError, EOFError, ValueError) as error:
        _blame_own_certificate(address, kafka, error)
        if await _answers_plainly(address):
            sasl = kafka.security_protocol.startswith("SASL")
            raise Trouble(
                TLS,
                f"{address} speaks plaintext, and ATTUNE_KAFKA__SECURITY_PROTOCOL is {kafka.security_protocol}",
                _NEEDED,
                "write the port of the broker's TLS listener into the address, or set "
                f"ATTUNE_KAFKA__SECURITY_PROTOCOL={'SASL_PLAINTEXT' if sasl else 'PLAINTEXT'}, which encrypts nothing",
            ) from error
        raise Trouble(
            TLS,
            f"TLS to {address} fails: {_words(error)}",
            _NEEDED,
            "see whether a Kafka listener with TLS stands there, which TLS versions it allows (ssl.enabled.protocols) "
            "and what its log says",
        ) from error


async def _speak_plainly(name: str, address: Address, kafka: KafkaSettings) -> None:
    """Raise Trouble where a port speaks TLS, or is none of Kafka's."""
    try:
        if await _answers_plainly(address):
            return
    except TimeoutError as error:
        raise _mute(name, address) from error
    shown = await tls.look_at(*address)
    if shown is not None:
        sasl = kafka.security_protocol.startswith("SASL")
        raise Trouble(
            TLS,
            f"{address} speaks TLS, and ATTUNE_KAFKA__SECURITY_PROTOCOL is {kafka.security_protocol}",
            _NEEDED,
            f"set ATTUNE_KAFKA__SECURITY_PROTOCOL={'SASL_SSL' if sasl else 'SSL or SASL_SSL'} and "
            "ATTUNE_KAFKA__SSL_CAFILE to a PEM file with the authority of its certificate, or take the port of a "
            "plaintext listener",
        )
    raise Trouble(
        name,
        f"{address} is open but does not answer as Kafka does",
        _NEEDED,
        "see whether that is Kafka's port and not one of another server",
    )


async def _answers_plainly(address: Address) -> bool:
    """Tell whether a port answers Kafka's first question without TLS; TimeoutError where it stays silent."""
    try:
        async with asyncio.timeout(STEP_SECONDS):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(_API_VERSIONS)
                head = await reader.readexactly(8)
            finally:
                writer.transport.abort()
    except (OSError, EOFError) as error:
        if isinstance(error, TimeoutError):  # which is an OSError
            raise
        return False
    length, correlation = struct.unpack(">ii", head)
    return not head.startswith(_ALERT) and 0 < length < _LARGEST_ANSWER and correlation == 1


async def _offer(name: str, address: Address, kafka: KafkaSettings, context: ssl.SSLContext | None) -> None:
    """Raise Trouble where the listener wants a password and none is set, the other way round, or another mechanism."""
    connection = _connection(address, kafka, context, "PLAINTEXT" if context is None else "SSL")
    try:
        await connection.connect()
        answer = await connection.send(SaslHandShakeRequest(kafka.sasl_mechanism))
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        _blame_own_certificate(address, kafka, error.__cause__)
        raise _silent(name if context is None else TLS, address, error) from error
    finally:
        await close(connection)
    sasl, wants = kafka.security_protocol.startswith("SASL"), for_code(answer.error_code) is not IllegalSaslStateError
    offered = ", ".join(answer.enabled_mechanisms)
    secure = "SSL" if context is not None else "PLAINTEXT"
    if sasl and not wants:
        raise Trouble(
            SASL,
            f"{address} knows no passwords, and ATTUNE_KAFKA__SECURITY_PROTOCOL is {kafka.security_protocol}",
            _NEEDED,
            f"set ATTUNE_KAFKA__SECURITY_PROTOCOL={secure}, or take the port of a listener with SASL",
        )
    if wants and not sasl:
        raise Trouble(
            SASL,
            f"{address} wants a user and a password ({offered}), and none is set",
            _NEEDED,
            f"set ATTUNE_KAFKA__SECURITY_PROTOCOL=SASL_{secure}, ATTUNE_KAFKA__SASL_MECHANISM to one of {offered}, "
            "ATTUNE_KAFKA__SASL_USERNAME and ATTUNE_KAFKA__SASL_PASSWORD",
        )
    if sasl and kafka.sasl_mechanism not in answer.enabled_mechanisms:
        raise Trouble(
            SASL,
            f"{address} does not offer {kafka.sasl_mechanism}; it offers {offered}",
            _NEEDED,
            f"set ATTUNE_KAFKA__SASL_MECHANISM to one of {offered}, or add {kafka.sasl_mechanism} to the broker's "
            "sasl.enabled.mechanisms",
        )


def _connection(
    address: Address, kafka: KafkaSettings, context: ssl.SSLContext | None, protocol: str
) -> AIOKafkaConnection:
    password = kafka.sasl_password
    return AIOKafkaConnection(
        *address,
        client_id="attune-doctor",
        request_timeout_ms=int(STEP_SECONDS * 1000),
        ssl_context=context,
        security_protocol=protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username,
        sasl_plain_password="" if password is None else password.get_secret_value(),
    )


async def close(connection: Any) -> None:
    """Close a connection, also one that was never opened."""
    was_open, closing = connection.connected(), connection.close()
    if was_open:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(closing)


def _blame_own_certificate(address: Address, kafka: KafkaSettings, error: BaseException | None) -> None:
    """Raise Trouble where an error is a server's alert about the certificate of this client."""
    said = str(error).upper()
    if not (isinstance(error, ssl.SSLError) and "ALERT" in said and ("CERTIFICATE" in said or "UNKNOWN_CA" in said)):
        return
    found = f"{address} wants a certificate of this client"
    if kafka.ssl_certfile is not None:
        found = f"{address} refuses the certificate of this client, {kafka.ssl_certfile}"
    raise Trouble(
        TLS,
        f"{found}: {error}",
        _NEEDED,
        "set ATTUNE_KAFKA__SSL_CERTFILE and ATTUNE_KAFKA__SSL_KEYFILE to PEM files of a certificate that is valid and "
        "whose authority is in the broker's ssl.truststore.location",
    ) from error


def _mute(name: str, address: Address) -> Trouble:
    return Trouble(
        name,
        f"{address} takes connections and answers nothing within {STEP_SECONDS:g} s",
        _NEEDED,
        "see whether the broker there is frozen, overloaded or still starting, and whether that is Kafka's port",
    )


def _silent(name: str, address: Address, error: BaseException) -> Trouble:
    return Trouble(
        name,
        f"{address} opens a connection and does not go on: {_words(error)}",
        _NEEDED,
        "see the log of that broker: it says why it closed the connection, or why it is slow to answer"
        + (" (one that wants certificates of its clients: ATTUNE_KAFKA__SSL_CERTFILE)" if name == TLS else ""),
    )


def _words(error: BaseException) -> str:
    cause = error.__cause__
    said = str(error) or type(error).__name__
    return f"{said} ({cause or type(cause).__name__})" if cause is not None else said
