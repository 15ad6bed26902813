"""The application: what can be asked, and how an answer is found, in one round trip to the store."""

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from agents.api import answers, models, paths, problems
from agents.api.answers import Freshness, Sources
from agents.api.watch import Watch
from agents.view import Away, Moved, Stored
from schemas import identity
from schemas.vocabulary import Channel

_ENCODE = msgspec.json.Encoder().encode
_JSON = "application/json"

DESCRIPTION = """What the views say of one customer: state, current actions, suppressions in force.

`key` is an identifier as channels publish it, `namespace:value`, or `attune:` and a surrogate; percent-encode it.
Every answer says how fresh it is. While it is **stale**, marketing actions are reported as `held`: carry none of them
out. Errors are problem details (RFC 9457)."""


class Views(Protocol):
    """The store of the views; every method raises Away where it does not answer and Moved where there are none."""

    async def read(self, customer: str) -> Stored:
        """Return one customer, every mark by source, and over how many partitions the views were made."""

    async def standing(self) -> Stored:
        """Return the same without a customer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the application is made of.

    `views` opens the store for as long as the application runs.  By what stands there `sources_of` gives the sources of
    a surrogate, `sources` all that there must be.  With `wall_clock` event time does not lag behind the clock of this
    machine.
    """

    views: Callable[[], AbstractAsyncContextManager[Views]]
    secret: bytes
    token: str | None
    sources_of: Callable[[str, Stored], Sources]
    sources: Callable[[Stored], Sources]
    stale_seconds: float
    redis_seconds: float
    wall_clock: bool
    now_ms: Callable[[], float] = lambda: time.time() * 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One customer as the store has it now."""

    customer: str
    stored: Stored
    freshness: Freshness
    now_ms: float
    event_ms: float
    """Event time, by which validity is judged."""

    def head(self) -> dict[str, Any]:
        """Return what every answer begins with."""
        return {
            "customer": self.customer,
            "stale": self.freshness.stale,
            "freshness": self.freshness.to_json(self.now_ms),
        }

    def actions(self, channel: str | None = None, placement: str | None = None) -> list[dict[str, Any]]:
        """Return the current actions."""
        stale = self.freshness.stale
        return answers.actions(self.stored, self.event_ms, stale=stale, channel=channel, placement=placement)


class Desk:
    """Finds customers in the store, or says by a problem why that cannot be."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.views: Views | None = None
        """The store, while the application runs."""

    async def find(self, key: str) -> Found:
        """Return the customer that a key means; raises ProblemError."""
        service = self._service
        customer = self._surrogate(key)
        views = self.views
        assert views is not None
        stored = await self.asked(lambda: views.read(customer))
        sources = service.sources_of(customer, stored)
        now_ms = service.now_ms()
        fresh = answers.freshness(sources, stored.marks, now_ms, service.stale_seconds)
        if stored.is_empty:
            if fresh.stale:
                reasons = "; ".join(fresh.reasons)
                raise problems.unavailable(
                    "stale views",
                    f"the views do not contain the customer, but they are stale: {reasons}",
                    "see that `attune worker views` runs, and `attune views status`",
                )
            raise problems.unknown_customer()
        mark = stored.marks.get(sources.names[0])
        clock_ms = 0 if mark is None else mark.clock_ms
        return Found(customer, stored, fresh, now_ms, max(clock_ms, now_ms if service.wall_clock else 0))

    async def ready(self) -> int:
        """Return of how many sources the views are made, all of them fresh; raises ProblemError."""
        service, views = self._service, self.views
        assert views is not None
        stored = await self.asked(views.standing)
        sources = service.sources(stored)
        reasons = answers.freshness(sources, stored.marks, service.now_ms(), service.stale_seconds).reasons
        if reasons:
            more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
            raise problems.unavailable(
                "stale views",
                "; ".join(reasons[:3]) + more,
                "see that `attune worker views` and `attune worker fold` run, and `attune views status`",
            )
        return len(sources.names)

    async def asked(self, ask: Callable[[], Any]) -> Any:
        """Ask the store, for a while that is declared; raises ProblemError where it does not answer."""
        try:
            async with asyncio.timeout(self._service.redis_seconds):
                return await ask()
        except (Away, TimeoutError) as error:
            raise problems.unavailable(
                "redis away",
                f"Redis did not answer within {self._service.redis_seconds:g} s",
                "ask again in a moment; the views lose nothing meanwhile",
            ) from error
        except Moved as error:
            raise problems.unavailable(
                "no views", "there are no views yet", "see that `attune worker views` runs, and `attune views status`"
            ) from error

    def _surrogate(self, key: str) -> str:
        """Return the surrogate that a key of a path means; the key itself goes nowhere else."""
        try:
            return identity.customer_of_key(self._service.secret, paths.decoded(key))
        except identity.MalformedKey:
            raise problems.bad_key() from None


Key = Annotated[
    str,
    Path(
        description="`namespace:value` as channels publish it, or `attune:` and 32 hex digits",
        examples=["loyalty:4711", f"attune:{models.SURROGATE}"],
    ),
]


def create(service: Service, watch: Watch) -> FastAPI:
    """Return the application; the store is opened when it starts."""
    desk = Desk(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.views() as views:
            desk.views = views
            yield
        desk.views = None

    app = FastAPI(
        title="Attune views",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its pages fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    app.add_middleware(watch.middleware)
    app.add_middleware(paths.as_sent)
    bearer = HTTPBearer(auto_error=False, description="the token of setting api.token")

    async def allowed(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        token = service.token
        if token is not None and (
            sent is None or not secrets.compare_digest(sent.credentials.encode(), token.encode())
        ):
            raise problems.unauthorized()

    common: dict[str, Any] = {
        "dependencies": [Depends(allowed), Depends(_asked_rightly)],
        "responses": problems.described(400, 401, 404, 422, 503),
        "tags": ["customers"],
    }

    @app.get("/v1/customers/{key:path}/actions", response_model=models.Actions, **common)
    async def actions(
        key: Key,
        channel: Annotated[Channel | None, Query(description="only actions of this channel")] = None,
        placement: Annotated[
            str | None, Query(description="only actions of this place", examples=["home-hero"])
        ] = None,
    ) -> Response:
        """Return the current actions of a customer, highest priority first."""
        found = await desk.find(key)
        return _answer(found, actions=found.actions(None if channel is None else channel.value, placement))

    @app.get("/v1/customers/{key:path}/suppressions", response_model=models.Suppressions, **common)
    async def suppressions(key: Key) -> Response:
        """Return the suppressions of a customer that are in force."""
        found = await desk.find(key)
        return _answer(found, suppressions=answers.suppressions(found.stored))

    @app.get("/v1/customers/{key:path}", response_model=models.Customer, **common)
    async def customer(key: Key) -> Response:
        """Return the state, the current actions and the suppressions of a customer."""
        found = await desk.find(key)
        state = None if found.stored.state is None else msgspec.Raw(found.stored.state)
        return _answer(found, state=state, actions=found.actions(), suppressions=answers.suppressions(found.stored))

    @app.get("/healthz", response_model=models.Health, tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Say that this process lives, whatever else does."""
        return {"status": "alive"}

    @app.get("/readyz", response_model=models.Readiness, responses=problems.described(503), tags=["operation"])
    async def readyz() -> dict[str, Any]:
        """Say that Redis answers and every partition of the views is fresh; 503 with the reason otherwise."""
        return {"status": "ready", "sources": await desk.ready()}

    return app


async def _asked_rightly(request: Request) -> None:
    """Raise RequestValidationError for a parameter that the operation does not have, or that comes twice.

    Who misspells one would otherwise get the answer to another question.
    """
    if not request.scope["query_string"]:
        return
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    errors, seen = [], set[str]()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            says = f"there is no such parameter here; there is {', '.join(sorted(known)) or 'none'}"
            errors.append({"loc": ("query", name), "msg": says})
        elif name in seen:
            errors.append({"loc": ("query", name), "msg": "it may be given once only"})
        seen.add(name)
    if errors:
        raise RequestValidationError(errors)


def _answer(found: Found, **parts: Any) -> Response:
    return Response(_ENCODE({**found.head(), **parts}), media_type=_JSON, headers={"Cache-Control": "no-store"})
