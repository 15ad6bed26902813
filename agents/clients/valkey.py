"""Clients of Valkey or Redis."""

import redis.asyncio


def client(url: str | None) -> redis.asyncio.Redis:
    """Return an asyncio client of `redis://…` or `rediss://…` that gives bytes and gives up after 5 s."""
    if url is None:
        raise ValueError("redis.url is not set and no embedded platform was started for this process")
    return redis.asyncio.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=5.0, health_check_interval=15)
