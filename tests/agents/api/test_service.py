"""The service itself: keys, problems, readiness, the token, and that nobody is named in logs, metrics or problems."""

import asyncio
import contextlib
import logging
import re
import socket
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import jsonschema
import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry

from agents.api import serve
from agents.api.app import create
from agents.api.problems import MEDIA_TYPE
from agents.api.watch import Watch
from agents.errors import AttuneError, UsageError
from schemas import identity
from tests.agents.api.conftest import CUSTOMER, IDENTIFIER, SECRET, Desk, asking, service
from tests.conftest import Redis

pytestmark = pytest.mark.kafka


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """Return a problem, which must be one of that kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    found: dict[str, Any] = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "hint"}
    assert (found["type"], found["status"]) == (f"urn:attune:problem:{kind}", status)
    assert all(found.values())
    return found


@pytest.mark.parametrize(
    "key",
    [IDENTIFIER, f"attune:{CUSTOMER}", urllib.parse.quote(IDENTIFIER, safe="")],
)
async def test_a_customer_is_named_as_channels_do(desk: Desk, key: str) -> None:
    """By identifier, digested as the router does, or by surrogate."""
    await desk.state()
    assert (await desk.get(f"/v1/customers/{key}")).json()["customer"] == CUSTOMER


@pytest.mark.parametrize("value", ["a/b", "a b", "ünïcode", "x/actions/y", "a:b"])
async def test_any_value_can_be_asked_for(desk: Desk, value: str) -> None:
    """Slashes, blanks and letters of every kind, percent-encoded."""
    customer = identity.surrogate(SECRET, f"loyalty:{value}")
    await desk.state(customer)
    path = f"/v1/customers/loyalty:{urllib.parse.quote(value, safe='')}"
    assert (await desk.get(path)).json()["customer"] == customer
    assert (await desk.get(f"{path}/actions")).json()["customer"] == customer


@pytest.mark.parametrize(
    "value",
    [
        "1/actions",
        "1/suppressions",
        "1/actions/",
        "a/actions/suppressions",
        "100%",
        "a%2Fb",
        "1%2Factions",
        "x?y#z",
        "\ufffd",
    ],
)
async def test_a_value_that_looks_like_another_page(desk: Desk, value: str) -> None:
    """What is percent-encoded belongs to the key: nobody is answered with another customer, on any of the pages."""
    customer = identity.surrogate(SECRET, f"household:{value}")
    await desk.state(customer)
    await desk.state(identity.surrogate(SECRET, "household:1"))
    path = f"/v1/customers/household:{urllib.parse.quote(value, safe='')}"
    for page in ("", "/actions", "/suppressions"):
        answer = await desk.get(f"{path}{page}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["customer"] == customer
    assert set((await desk.get(path)).json()) > {"state", "actions"}
    assert set((await desk.get(f"{path}/actions")).json()) == {"customer", "stale", "freshness", "actions"}


@pytest.mark.parametrize(
    "key", ["nobody", "attune:short", f"attune:{CUSTOMER.upper()}", "loyalty:", ":4711", "loyalty:%FF", CUSTOMER]
)
async def test_a_key_that_names_nobody(desk: Desk, key: str) -> None:
    """400 with the two forms that a key may have; the key itself is not quoted."""
    found = problem(await desk.get(f"/v1/customers/{key}"), 400, "bad-key")
    assert "namespace:value" in found["detail"]
    assert key not in str(found).replace("loyalty:4711", "the example")


async def test_an_unknown_customer(desk: Desk) -> None:
    """404 while the views are fresh; 503 while they are stale, since the customer may be new."""
    problem(await desk.get("/v1/customers/loyalty:nobody"), 404, "unknown-customer")
    await desk.marks(age_seconds=60)
    answer = await desk.get("/v1/customers/loyalty:nobody/actions")
    assert "60.0 s ago" in problem(answer, 503, "stale-views")["detail"]
    assert answer.headers["retry-after"] == "1"


async def test_a_parameter_that_cannot_be(desk: Desk) -> None:
    """422 naming the parameter and what it may be."""
    found = problem(await desk.get("/v1/customers/loyalty:1/actions?channel=FAX"), 422, "bad-parameter")
    assert "channel" in found["detail"]
    assert "'E_COMMERCE'" in found["detail"]


@pytest.mark.parametrize(
    ("page", "asked", "named"),
    [
        ("", "unknown=1", "unknown"),
        ("", "channel=E_COMMERCE", "channel"),
        ("/suppressions", "channel=E_COMMERCE", "channel"),
        ("/actions", "chanel=", "chanel"),
        ("/actions", "chanel", "chanel"),
        ("/actions", "channel=E_COMMERCE&channel=OUTLET", "channel"),
        ("/actions", "placement=a&placement=a", "placement"),
        ("/actions", "channel=E_COMMERCE&x=1", "x"),
    ],
)
async def test_a_parameter_that_is_not_known_or_comes_twice(desk: Desk, page: str, asked: str, named: str) -> None:
    """422 naming it, instead of an answer to another question; the value is not quoted."""
    await desk.state()
    found = problem(await desk.get(f"/v1/customers/{IDENTIFIER}{page}?{asked}"), 422, "bad-parameter")
    assert found["detail"].startswith(f"{named}: "), found


async def test_parameters_that_are_known(desk: Desk) -> None:
    """Each of them once."""
    await desk.state()
    answer = await desk.get(f"/v1/customers/{IDENTIFIER}/actions?channel=E_COMMERCE&placement=home-hero")
    assert answer.status_code == 200, answer.text


async def test_pages_that_do_not_exist(desk: Desk) -> None:
    """Problems, too: no page, no such method."""
    problem(await desk.get("/v2"), 404, "no-such-page")
    problem(await desk.http.post("/healthz"), 405, "method-not-allowed")


async def test_an_error_of_ours_is_a_problem(desk: Desk) -> None:
    """A document that cannot be read ends one request, with nothing of it in the answer."""
    from agents.view import StateWrite

    await desk.store.apply(desk.generation, [StateWrite(CUSTOMER, "1", b"{garbled")])
    problem(await desk.get(f"/v1/customers/{IDENTIFIER}"), 500, "internal-error")


async def test_health_and_readiness(desk: Desk) -> None:
    """Alive whatever happens; ready while every source is fresh, else 503 with the reason."""
    assert (await desk.get("/healthz")).json() == {"status": "alive"}
    assert (await desk.get("/readyz")).json() == {"status": "ready", "sources": 3}
    await desk.marks(age_seconds=12)
    assert "states/0" in problem(await desk.get("/readyz"), 503, "stale-views")["detail"]
    await desk.store._client.delete("attune:views:current")
    assert "attune worker views" in problem(await desk.get("/readyz"), 503, "no-views")["hint"]
    problem(await desk.get(f"/v1/customers/{IDENTIFIER}"), 503, "no-views")
    assert (await desk.get("/healthz")).status_code == 200


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the address of a server that takes connections and never answers, as a frozen Redis."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


async def test_a_redis_that_does_not_answer(silent: str) -> None:
    """503 instead of hanging; the process stays alive."""
    async with asking(service(silent)) as (http, _), asyncio.timeout(60):
        for path in (f"/v1/customers/{IDENTIFIER}", f"/v1/customers/{IDENTIFIER}/actions", "/readyz"):
            answer = await http.get(path)
            assert "Redis did not answer" in problem(answer, 503, "redis-away")["detail"]
            assert answer.headers["retry-after"] == "1"
        assert (await http.get("/healthz")).status_code == 200


async def test_a_redis_that_is_not_there_and_comes_back(desk: Desk, valkey: Redis) -> None:
    """503 as well while nobody listens; the same process answers again once somebody does."""
    await desk.state()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = f"/v1/customers/{IDENTIFIER}"
    async with asking(service(f"redis://127.0.0.1:{port}/0")) as (http, _):
        problem(await http.get(path), 503, "redis-away")
        async with forwarding(port, valkey.url):
            assert (await http.get(path)).json()["customer"] == CUSTOMER
        problem(await http.get(path), 503, "redis-away")


@asynccontextmanager
async def forwarding(port: int, url: str) -> AsyncIterator[None]:
    """Listen on a port and pass everything on to a Redis while the block runs."""
    target = urllib.parse.urlsplit(url)
    open_writers: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        while content := await reader.read(65_536):
            writer.write(content)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.hostname, target.port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in open_writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()


async def test_the_token(valkey: Redis, desk: Desk) -> None:
    """Customers only with the token, health and description without; another token is none."""
    await desk.state()
    path = f"/v1/customers/{IDENTIFIER}"
    async with asking(service(valkey.url, token="a-token-of-some-length")) as (http, _):
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic YTpi"}):
            answer = await http.get(path, headers=headers)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        answer = await http.get(path, headers={"Authorization": "Bearer a-token-of-some-length"})
        assert answer.json()["customer"] == CUSTOMER
        for open_path in ("/healthz", "/readyz", "/openapi.json"):
            assert (await http.get(open_path)).status_code == 200


async def test_nobody_is_named_in_logs_and_metrics(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the identifier nor the surrogate, whatever the outcome; routes and statuses are counted."""
    await desk.state()
    registry = CollectorRegistry()
    registry.register(desk.watch.seconds)
    with caplog.at_level(logging.DEBUG, "agents"):
        for path in (IDENTIFIER, f"{IDENTIFIER}/actions", "loyalty:nobody-known", "wrong-secret-name"):
            await desk.get(f"/v1/customers/{path}")
    metrics = generate_latest(registry).decode()
    for words in ("4711", "nobody-known", "wrong-secret-name", CUSTOMER):
        assert words not in caplog.text
        assert words not in metrics
    assert 'attune_api_request_seconds_count{route="/v1/customers/{key:path}/actions",status="200"} 1.0' in metrics
    assert 'route="/v1/customers/{key:path}",status="404"' in metrics
    assert "/v1/customers/{key:path} 200" in caplog.text


def test_the_description_is_whole() -> None:
    """OpenAPI 3.1: every reference leads somewhere, every schema is one, every operation and parameter is described."""
    found = create(service("redis://127.0.0.1:1"), Watch()).openapi()
    assert found["openapi"].startswith("3.1")
    schemas = found["components"]["schemas"]
    for reference in set(re.findall(r"'#/components/schemas/(\w+)'", str(found))):
        assert reference in schemas, reference
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = {path: item["get"] for path, item in found["paths"].items()}
    assert set(operations) == {
        "/v1/customers/{key}",
        "/v1/customers/{key}/actions",
        "/v1/customers/{key}/suppressions",
        "/healthz",
        "/readyz",
    }
    for path, operation in operations.items():
        assert operation["description"]
        assert all(parameter["description"] for parameter in operation.get("parameters", ()))
        if path.startswith("/v1"):
            assert {"200", "400", "401", "404", "422", "503"} == set(operation["responses"])
            assert set(operation["responses"]["404"]["content"]) == {MEDIA_TYPE}
            assert operation["security"]
    example = schemas["Problem"]["properties"]["type"]["examples"][0]
    assert example.startswith("urn:attune:problem:")


def test_without_a_token_only_loopback() -> None:
    """Any other address is wrong use, with the remedy; with a token it is allowed."""
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UsageError, match="loopback only") as refused:
            serve.bound(host, 0, token=False)
        assert "ATTUNE_API__TOKEN" in refused.value.hint
    with serve.bound("0.0.0.0", 0, token=True) as listening:
        assert listening.getsockname()[1]


def test_a_port_that_is_taken() -> None:
    """The error says which, and how to choose another."""
    with serve.bound("127.0.0.1", 0, token=False) as listening:
        with pytest.raises(AttuneError, match="nothing can listen on") as refused:
            serve.bound("127.0.0.1", listening.getsockname()[1], token=False)
        assert "--port" in refused.value.hint
        assert serve.url(listening).startswith("http://127.0.0.1:")
