"""The application on a socket, until a signal."""

import asyncio
import gc
import logging
import socket
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agents.errors import AttuneError, UsageError

logger = logging.getLogger(__name__)

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_BACKLOG: Final = 2_048
_STOP_SECONDS: Final = 5
_CONCURRENCY: Final = 1_000
"""More connections or requests at once are answered 503; each request that is served may take two descriptors."""
_WHOLE_SECONDS: Final = 10.0
"""A request must be here, head and body, so long after its connection, or its first byte."""


class Bounded(HttpToolsProtocol):
    """Closes a connection whose request does not become whole, which uvicorn would keep for ever."""

    _lacking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on to wait: uvicorn's own time for the next request ends with whatever comes."""
        self._wait()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a request."""
        self._wait()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._lacking is None:
            self._lacking = self.loop.call_later(_WHOLE_SECONDS, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._lacking is not None:
            self._lacking.cancel()
            self._lacking = None


def bound(host: str, port: int, *, token: bool) -> socket.socket:
    """Return a listening socket; port 0 takes any free one.

    Raises UsageError for an address that others can reach while there is no token, AttuneError where it cannot be had.
    """
    if not token and host not in LOOPBACK:
        raise UsageError(
            f"without a token this service listens on loopback only, not on {host}: anybody could read every customer",
            "set ATTUNE_API__TOKEN (at least 16 characters, and TLS in front of it), or leave --host at 127.0.0.1",
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise AttuneError(f"{host} is no address of this machine: {error}", "set ATTUNE_API__HOST to one") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise AttuneError(
            f"nothing can listen on {host}:{port}: {error.strerror or error}",
            "choose another with --port or ATTUNE_API__PORT; 0 takes any free one",
        ) from error
    return listening


def url(listening: socket.socket) -> str:
    """Return where a socket is reached."""
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: Any) -> uvicorn.Server:
    """Return a server of an application, not running; paths are never logged, since they may name a person."""
    gc.freeze()  # what is loaded by now stays: collections need not look at it while requests wait
    config = uvicorn.Config(
        app,
        http=Bounded,
        ws="none",
        loop="uvloop",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        limit_concurrency=_CONCURRENCY,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return uvicorn.Server(config)
