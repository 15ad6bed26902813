"""Clients of Valkey or Redis."""

import asyncio
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def client(url: str | None, *, seconds: float = 5.0) -> redis.asyncio.Redis:
    """Return an asyncio client of `redis://…` or `rediss://…` that gives bytes and gives up after some seconds.

    It asks once: whoever asks knows better whether to wait, to ask again or to say that Redis is away.
    """
    if url is None:
        raise ValueError("redis.url is not set and no embedded platform was started for this process")
    pool = redis.asyncio.ConnectionPool.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
    )
    pool.connection_class = type("Connection", (_Cancellable, pool.connection_class), {})
    return redis.asyncio.Redis.from_pool(pool)


class _Cancellable:
    """A connection that can be cancelled while it sends.

    The library sends within `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes when the
    sending is just done: the task would go on, and whoever waits for its end would wait for ever.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send, and then be cancelled if that was asked for meanwhile."""
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        inner: Any = super()
        await inner.send_packed_command(command, check_health)
        if task is not None and task.cancelling() > before:
            connection: Any = self
            await connection.disconnect(nowait=True)  # an answer is under way that nobody will read
            raise asyncio.CancelledError
