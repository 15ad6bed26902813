"""The service on a socket: connections that never become a request do not stay, and there are not too many."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agents.api import serve
from agents.api.app import create
from agents.api.watch import Watch
from tests.agents.api.conftest import service

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: views\r\n\r\n"


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Yield the port of the service."""
    with serve.bound("127.0.0.1", 0, token=False) as listening:
        server = serve.server(create(service("redis://127.0.0.1:1"), Watch()))
        work = asyncio.ensure_future(server.serve(sockets=[listening]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await work
            gc.unfreeze()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Wait until the other side closes; return what it sent before."""
    found = b""
    try:
        while part := await reader.read(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"GET /healthz HTTP/1.1\r\nHost: vi",
        b"GET /healthz HTTP/1.1\r\nContent-Length: 100\r\n\r\nx",
        REQUEST + b"\r\n",
        REQUEST + b"GET /he",
        b"GET /healthz HTTP/1.1\r\nHost: views\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_half_a_request_does_not_stay(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """However much of it was sent, and however slowly it goes on: its connection is closed."""
    monkeypatch.setattr(serve, "_WHOLE_SECONDS", 0.5)
    async with asyncio.timeout(30), serving() as port:
        half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in half:
            writer.write(sent)
        trickle = asyncio.ensure_future(slowly(half[0][1]))
        for reader, writer in half:
            found = await closed(reader)
            assert found.startswith(b"HTTP/1.1 200") == (b"\r\n\r\n" in sent)
            writer.close()
        trickle.cancel()


async def slowly(writer: asyncio.StreamWriter) -> None:
    """Send a letter now and then, without ever ending."""
    await asyncio.sleep(0.2)
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.1)


async def test_whole_requests_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with one request after the other outlives the time that each of them has."""
    monkeypatch.setattr(serve, "_WHOLE_SECONDS", 0.5)
    async with asyncio.timeout(30), serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(12):
            writer.write(REQUEST[:20])
            await asyncio.sleep(0.1)
            writer.write(REQUEST[20:])
            assert b"200 OK" in await reader.readuntil(b'alive"}')
        writer.close()


async def test_more_connections_than_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 at once, instead of all of them becoming slow."""
    monkeypatch.setattr(serve, "_CONCURRENCY", 3)
    async with asyncio.timeout(30), serving() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert (await closed(reader)).startswith(b"HTTP/1.1 503")
        for _, one in (*held, (reader, writer)):
            one.close()
