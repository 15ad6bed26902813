"""Addresses of servers, checked before anything connects. Each check returns the address or raises ValueError.

No message quotes an address that may hold a password.
"""

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

MASK = "********"
"""Stands for a password."""

_REDIS = "write redis://host:6379/0, rediss://… for TLS"
_HTTP = "write http://host:port or https://host:port"
_HOST = r"\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+"
_HOST_AND_PORT = re.compile(rf"(?:{_HOST})(?::([0-9]{{1,5}}))?")
_HIGHEST_PORT = 65_535


def _redis(url: str) -> str:
    parts = _split(url, ("redis", "rediss", "unix"), _REDIS)
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("it has no path of a socket; write unix:///path")
    elif not re.fullmatch(r"/?[0-9]{0,5}", parts.path):
        raise ValueError(f"its path is not the number of a database; {_REDIS}; in a password / is %2F")
    if parts.query:
        _options(url)
    return url


def _options(url: str) -> None:
    """Let the library try what stands behind the question mark; it connects to nobody."""
    from redis.asyncio import ConnectionPool  # noqa: PLC0415 - no command that does without Redis pays for it

    try:
        ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise ValueError(f"what stands behind its question mark cannot be used: {error}") from error


def _http(url: str) -> str:
    _split(url, ("http", "https"), _HTTP)
    return url


def _brokers(bootstrap: str) -> str:
    for one in bootstrap.split(","):
        found = _HOST_AND_PORT.fullmatch(one.strip())
        port = None if found is None else found[1]
        if (found is None and not _is_ipv6(one.strip())) or (port is not None and not 1 <= int(port) <= _HIGHEST_PORT):
            raise ValueError(f"{one.strip()[:100]!r} is no host:port; write host:9092[,host:9092]")
    return bootstrap


def _split(url: str, schemes: tuple[str, ...], remedy: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"it is no address; {remedy}") from error
    if parts.scheme not in schemes or "://" not in url:
        raise ValueError(f"it does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}; {remedy}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"its port is no number from 1 to {_HIGHEST_PORT}; {remedy}; in a password / is %2F")
    if not parts.hostname and parts.scheme != "unix":
        raise ValueError(f"it names no host; {remedy}")
    return parts


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


RedisUrl = Annotated[str, AfterValidator(_redis)]
"""`redis://`, `rediss://` or `unix://`, as the library reads it."""
HttpUrl = Annotated[str, AfterValidator(_http)]
"""`http://` or `https://` with a host."""
Brokers = Annotated[str, AfterValidator(_brokers)]
"""host:port[,host:port]; without a port Kafka's own is taken."""


def without_password(url: str) -> str:
    """Mask the password in an address, also in one that cannot be taken apart since it stands there unescaped."""
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if not at or ":" not in user:
        return url
    return f"{scheme}://{user.partition(':')[0]}:{MASK}@{host}"
