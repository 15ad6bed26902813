"""Paths as they were sent: a slash that was percent-encoded belongs to a key, one that was not parts the path."""

import urllib.parse
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_SENT: Final = "latin-1"
"""Gives each byte of a path a letter of its own."""


def as_sent(app: ASGIApp) -> ASGIApp:
    """Return an application that routes by the path before it was decoded; what it takes from there is `decoded`."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or urllib.parse.quote(scope["path"]).encode()
            scope["path"] = raw.decode(_SENT)
        await app(scope, receive, send)

    return routed


def decoded(part: str) -> bytes:
    """Return a part of such a path without percent-encoding."""
    return urllib.parse.unquote_to_bytes(part.encode(_SENT))
