"""Views in a real Valkey, written through the store as the agent does, and the application in front of them."""

import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from agents.api.answers import Sources
from agents.api.app import Service, create
from agents.api.watch import Watch
from agents.clients import valkey as clients
from agents.clients.viewstore import ViewStore
from agents.view import ACTIONS, SUPPRESSIONS, EntriesWrite, Entry, Mark, StateWrite, output_position, state_position
from agents.views.documents import action_document, state_document, suppression_document
from schemas import identity
from schemas.message_examples import load
from streams.customer import Customer, Hold, Made
from tests.conftest import Redis

SECRET = b"0123456789abcdef0123456789abcdef"
IDENTIFIER = "loyalty:4711"
CUSTOMER = identity.surrogate(SECRET, IDENTIFIER)
SOURCES = ("states/0", "actions/0", "suppressions/0")
NOW_MS = int(time.time() * 1_000)
HOUR_MS = 3_600_000


@dataclasses.dataclass
class Desk:
    """What a test writes into the views, and how it asks."""

    store: ViewStore
    generation: str
    http: httpx.AsyncClient
    watch: Watch

    async def marks(self, age_seconds: float = 0.0, **changes: Any) -> None:
        """Say that the views were whole so long ago."""
        known = await self.store.marks(self.generation)
        for source in SOURCES:
            mark = Mark(1, shown_ms=NOW_MS - int(age_seconds * 1_000), clock_ms=NOW_MS, **changes)
            await self.store.mark(self.generation, source, mark, known.get(source, b""))

    async def state(self, customer: str = CUSTOMER, *, fence: int = 10, **fields: Any) -> None:
        """Write a state."""
        state = Customer(offset=fence, first_seen_ms=NOW_MS - HOUR_MS, last_seen_ms=NOW_MS, events=1, **fields)
        write = StateWrite(customer, state_position(3, fence, None), state_document(customer, state, None, None))
        await self.store.apply(self.generation, [write])

    async def action(self, name: str, *, offset: int = 5, **fields: Any) -> None:
        """Write a proposed action, valid for an hour."""
        decision = {
            **next(load("NextBestAction")).record(),
            "decision_id": name,
            "action_id": name,
            "action_class": "MARKETING",
            "channel": "E_COMMERCE",
            "decided_at": NOW_MS,
            "valid_until": NOW_MS + HOUR_MS,
            **fields,
        }
        entry = Entry(output_position(3, offset, 0), name, action_document(decision))
        await self.store.apply(self.generation, [EntriesWrite(ACTIONS, CUSTOMER, (entry,))])

    async def hold(self, name: str = "hold-1", *, offset: int = 5, lifted: bool = False, **fields: Any) -> None:
        """Write a suppression, or its lift."""
        content = {**next(load("Suppression")).record(), "suppression_id": name, **fields}
        entry = Entry(output_position(3, offset, 0), name, None if lifted else suppression_document(content))
        await self.store.apply(self.generation, [EntriesWrite(SUPPRESSIONS, CUSTOMER, (entry,))])

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask."""
        return await self.http.get(path, **options)


def held(*evidence: str, started_ms: int = NOW_MS) -> Hold:
    return Hold("hold-of-state", started_ms, evidence)


PATIENCE_SECONDS = 2.0
"""Longer than as shipped: a busy machine is no Redis that is away."""


def accepted(action: str) -> Made:
    return Made(action, "i", "g", "E_COMMERCE", "MARKETING", NOW_MS, outcome="ACCEPT")


def service(url: str, **changes: Any) -> Service:
    """Return what the application is made of, three sources and no token."""

    @asynccontextmanager
    async def views() -> AsyncIterator[ViewStore]:
        async with clients.client(url, seconds=PATIENCE_SECONDS) as client:
            yield ViewStore(client)

    settings: dict[str, Any] = {
        "views": views,
        "secret": SECRET,
        "token": None,
        "sources_of": lambda *_: Sources(SOURCES, 3),
        "sources": lambda _: Sources(SOURCES),
        "stale_seconds": 10.0,
        "redis_seconds": PATIENCE_SECONDS,
        "wall_clock": True,
        "now_ms": lambda: float(NOW_MS),
        **changes,
    }
    return Service(**settings)


@asynccontextmanager
async def asking(made: Service) -> AsyncIterator[tuple[httpx.AsyncClient, Watch]]:
    """Yield a client of an application in this process."""
    watch = Watch()
    app = create(made, watch)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://views")), watch


@pytest.fixture
async def desk(valkey: Redis) -> AsyncIterator[Desk]:
    """Yield empty views that are fresh."""
    async with clients.client(valkey.url) as client, asking(service(valkey.url)) as (http, watch):
        await client.delete("attune:views:current")
        store = ViewStore(client)
        generation = await store.begin()
        desk = Desk(store, generation, http, watch)
        await desk.marks()
        yield desk
        await client.delete("attune:views:current")
        await store.give_up(generation)
