"""Requests at a fixed rate over HTTP, whatever the answers do: a late answer makes the next ones wait, and that counts.

Every latency is taken from the moment at which its request was due, not from when a connection was free for it: no
coordinated omission.
"""

import asyncio
import time
from collections.abc import Sequence

CONNECTIONS = 32


async def open_loop(host: str, port: int, paths: Sequence[str], *, rate: float, seconds: float) -> list[float]:
    """Return the latencies in milliseconds of `rate` requests a second; each must be answered with 200."""
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    latencies: list[float] = []
    readers = [asyncio.create_task(_connection(host, port, due, latencies)) for _ in range(CONNECTIONS)]
    begun = time.perf_counter() + 0.2
    for number in range(int(rate * seconds)):
        moment = begun + number / rate
        wait = moment - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        path = paths[number % len(paths)]
        due.put_nowait((moment, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))
    for _ in readers:
        due.put_nowait(None)
    await asyncio.gather(*readers)
    return latencies


async def _connection(
    host: str, port: int, due: "asyncio.Queue[tuple[float, bytes] | None]", latencies: list[float]
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while (asked := await due.get()) is not None:
        moment, request = asked
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        latencies.append((time.perf_counter() - moment) * 1_000)
    writer.close()
    await writer.wait_closed()
