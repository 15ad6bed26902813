"""What is examined, and by which clients: put together by the command, since clients are none of this package."""

import dataclasses
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agents.errors import AttuneError
from agents.settings import Settings
from schemas.catalogue import Catalogue


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One examination.

    `grants` has the rights of each role; `rights(send, grants)` tells which of them are missing, `operations(send,
    topics)` what the user may do with topics (agents.clients.access).  `context` is None where Kafka is reached without
    TLS; `redis(url)` returns a client that gives up after some seconds; `registry` is a client of the registry that is
    set.  `partitions(settings)` tells over how many partitions of the journal customers are spread.
    """

    settings: Settings
    role: str | None
    """One of `grants`; None looks at everything."""
    embedded: bool
    context: ssl.SSLContext | None
    catalogue: Catalogue
    grants: Mapping[str, Sequence[Any]]
    principal: str
    rights: Callable[[Any, Sequence[Any]], Awaitable[Any]]
    operations: Callable[[Any, Sequence[str]], Awaitable[Mapping[str, frozenset[str]]]]
    partitions: Callable[[Settings], Awaitable[int]]
    redis: Callable[[str], Any]
    registry: Any = None
    tls_error: AttuneError | None = None
    """Why there is no `context`, where the settings ask for TLS."""
    now: Callable[[], float] = time.time
    """Seconds since 1970 by the clock of this machine."""
