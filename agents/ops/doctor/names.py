"""Addresses of hosts, and whether a port is open: the first steps of every client."""

import asyncio
import socket
import threading
from typing import Final, NamedTuple

from agents.ops.doctor.finding import Trouble

STEP_SECONDS: Final = 3.5
"""How long one step of reaching a server may take."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_port(name: str, address: Address, *, setting: str, server: str) -> None:
    """Connect and leave again; Trouble says whether the name, the way or the port is wrong.

    `setting` says where the address comes from, `server` what should listen there.
    """
    why = f"no client on this machine reaches {server} there"
    try:
        async with asyncio.timeout(STEP_SECONDS):
            await _resolve(address)
    except TimeoutError:
        raise Trouble(
            name,
            f"{address.host} was not resolved within {STEP_SECONDS:.0f} s",
            why,
            f"see whether this machine's name server answers (`getent hosts {address.host}`), or {setting}",
        ) from None
    except OSError as error:
        raise Trouble(
            name,
            f"{address.host} does not resolve: {error.strerror or error}",
            why,
            f"correct the name ({setting}), or make this machine know it: its name server, /etc/hosts, or in a "
            "container its network",
        ) from error
    try:
        async with asyncio.timeout(STEP_SECONDS):
            _, writer = await asyncio.open_connection(*address)
            writer.transport.abort()
    except TimeoutError:
        raise Trouble(
            name,
            f"{address} does not answer within {STEP_SECONDS:.0f} s",
            why,
            f"see whether a firewall or network policy drops the way from this machine, and whether the address is "
            f"right ({setting})",
        ) from None
    except ConnectionRefusedError as error:
        raise Trouble(
            name,
            f"the port of {address} is closed: connection refused",
            why,
            f"start {server}, or correct the address ({setting})",
        ) from error
    except OSError as error:
        raise Trouble(
            name,
            f"{address} cannot be reached: {error.strerror or error}",
            why,
            f"see whether this machine has a way to it, and whether the address is right ({setting})",
        ) from error


async def _resolve(address: Address) -> None:
    """Look a name up, in a thread that nobody waits for: a name server that is away holds one for minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[OSError | None] = loop.create_future()

    def tell(error: OSError | None) -> None:
        if not done.done():
            done.set_result(error)

    def look_up() -> None:
        try:
            socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        except OSError as error:
            found: OSError | None = error
        else:
            found = None
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=look_up, name=f"look up {address.host}", daemon=True).start()
    error = await done
    if error is not None:
        raise error
