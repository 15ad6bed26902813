"""What is counted and logged of requests: the route as it was declared, never the path, which may name a person."""

import logging
import time
from typing import Final

from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Watch:
    """Times requests by route and status; `seconds` is a collector of metrics."""

    def __init__(self) -> None:
        self.seconds = Histogram(
            "attune_api_request_seconds",
            "Time until an answer was sent.",
            ["route", "status"],
            buckets=_BUCKETS,
            registry=None,
        )

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return an application that does what another does, watched."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, begun = 500, time.perf_counter()

            async def noted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                seconds = time.perf_counter() - begun
                route = getattr(scope.get("route"), "path", "none")
                self.seconds.labels(route, str(status)).observe(seconds)
                logger.debug("%s %s %d %.1f ms", scope["method"], route, status, seconds * 1_000)

        return watched
