"""Certificates: what is wrong with one, and until when it is valid."""

import asyncio
import contextlib
import dataclasses
import ssl
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from agents.ops.doctor.finding import Finding, Trouble, failed, ok, warning

SOON: Final = timedelta(days=30)
_LOOK_SECONDS: Final = 2.0
_EXPIRED, _NOT_YET, _HOST, _ADDRESS = 10, 9, 62, 64
"""OpenSSL's codes of what it found; all others mean that the chain leads to no authority that is trusted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """What a server showed: names it is for, who issued it, until when it is valid."""

    names: tuple[str, ...]
    issuer: str
    begins: datetime
    ends: datetime

    def __str__(self) -> str:
        return f"for {', '.join(self.names) or 'no name'}, issued by {self.issuer}, valid until {self.ends:%Y-%m-%d}"


def parse(der: bytes) -> Certificate:
    """Read a certificate; ValueError for what is none."""
    found = x509.load_der_x509_certificate(der)
    names: tuple[str, ...] = ()
    with contextlib.suppress(x509.ExtensionNotFound):
        others = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *others.get_values_for_type(x509.DNSName),
            *map(str, others.get_values_for_type(x509.IPAddress)),
        )
    common = [str(one.value) for one in found.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
    issuer = common[0] if common else found.issuer.rfc4514_string()
    return Certificate(names, issuer, found.not_valid_before_utc, found.not_valid_after_utc)


async def handshake(host: str, port: int, context: ssl.SSLContext) -> Certificate:
    """Shake hands and return the server's certificate.  Raises OSError (ssl.SSLError is one) and EOFError."""
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return parse(shown)
    finally:
        writer.transport.abort()


def unverified() -> ssl.SSLContext:
    """Return a context that takes any certificate: to look at what was shown, never to send anything."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def look_at(host: str, port: int) -> Certificate | None:
    """Return the certificate that a server shows, whatever is wrong with it; None where it speaks no TLS."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await handshake(host, port, unverified())
    except (OSError, EOFError, TimeoutError, ValueError):
        return None


def refused(name: str, where: str, error: ssl.SSLCertVerificationError, shown: Certificate | None, ca: str) -> Trouble:
    """Say why a certificate was refused; `ca` is the variable that names the file of authorities, and what it says."""
    found = "" if shown is None else f" (it is {shown})"
    why = "every client of Attune refuses the connection, so nothing works"
    if error.verify_code in (_HOST, _ADDRESS):
        return Trouble(
            name,
            f"the certificate of {where} is for another host name{found}",
            why,
            "write a name that it is for into the address (ATTUNE_KAFKA__BOOTSTRAP, or advertised.listeners of that "
            "broker), or issue a certificate with this name among its subject alternative names",
        )
    if error.verify_code == _EXPIRED:
        when = "" if shown is None else f" on {shown.ends:%Y-%m-%d at %H:%M UTC}"
        return Trouble(
            name,
            f"the certificate of {where} expired{when}{found}",
            why,
            "issue a new certificate and put it into the broker's keystore (ssl.keystore.location); if this machine's "
            "clock is wrong (`date -u`), set that",
        )
    if error.verify_code == _NOT_YET:
        return Trouble(
            name,
            f"the certificate of {where} is not valid yet{found}",
            why,
            "see whether this machine's clock is right (`date -u`), else wait or issue another certificate",
        )
    return Trouble(
        name,
        f"the certificate of {where} is not trusted: {error.verify_message}{found}",
        why,
        f"set ATTUNE_KAFKA__SSL_CAFILE to a PEM file with the authority that issued it ({ca})",
    )


def lasting(name: str, where: str, shown: Certificate, now: datetime) -> Finding:
    """Say until when a certificate that was accepted is valid."""
    left = shown.ends - now
    if left > SOON:
        return ok(name, f"{where}: certificate {shown}")
    found = f"the certificate of {where} expires in {left.days} days, on {shown.ends:%Y-%m-%d at %H:%M UTC}"
    why = "from then on every client refuses the connection and nothing works"
    remedy = "issue a new certificate and put it into the broker's keystore (ssl.keystore.location) before that"
    return (failed if left <= timedelta() else warning)(name, found, why, remedy)
