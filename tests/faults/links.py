"""Connections on loopback that can be cut: what was sent then goes nowhere, and nobody is told."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

_CHUNK = 65_536


class Links:
    """TCP relays in a thread of their own; a cut one swallows, as a network that is partitioned does."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._cut: set[str] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def add(self, name: str, host: str, port: int, to_port: int) -> None:
        """Relay host:port to to_port on 127.0.0.1."""

        async def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._relay(name, reader, writer, to_port)

        async def serve() -> None:
            self._servers.append(await asyncio.start_server(opened, host, port))

        self._run(serve)

    def cut(self, *names: str) -> None:
        """Swallow from now on what goes through these, in both directions."""
        self._cut |= set(names)

    def mend(self) -> None:
        """Relay everything again; connections that were cut are closed, since bytes of them are gone."""
        self._cut.clear()

    def close(self) -> None:
        """End the relays and the thread."""
        for server in self._servers:
            self._loop.call_soon_threadsafe(server.close)
        self._run(_end_others)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _relay(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_port: int) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            from_there, there = await asyncio.open_connection("127.0.0.1", to_port)
            both = {
                asyncio.ensure_future(self._pump(name, reader, there)),
                asyncio.ensure_future(self._pump(name, from_there, writer)),
            }
            _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for pump in left:
                pump.cancel()
        except OSError:
            pass  # nobody listens there now: the one who asked sees his connection closed
        finally:
            for end in (writer, there):
                if end is not None:
                    end.close()

    async def _pump(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if name in self._cut:
                    while name in self._cut:
                        await asyncio.sleep(0.05)
                    return
                writer.write(chunk)
                await writer.drain()


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
