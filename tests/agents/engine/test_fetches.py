"""Which runs were fetched before a seek."""

import asyncio

import pytest

from agents.engine.fetches import Fetches


async def test_a_seek_waits_for_the_fetch_under_way_and_lets_none_begin() -> None:
    """Whatever has a number up to the returned one was fetched from where the consumer stood before."""
    fetches = Fetches()
    sought: list[int] = []

    async def seek() -> None:
        sought.append(fetches.serial)

    with fetches.one() as serial:
        rewinding = asyncio.create_task(fetches.rewind([1], seek))
        await asyncio.sleep(0)
        assert fetches.held == {1}
        assert not sought
    assert await rewinding == serial == 1
    assert sought == [1]
    assert not fetches.held


async def test_two_seeks_at_once_lose_nothing() -> None:
    """A restore is overtaken by another while its seek waits: what is fetched in between is fetched again."""
    fetches = Fetches()
    position = 0
    slow = asyncio.Event()

    async def seek_slowly() -> None:
        nonlocal position
        await slow.wait()
        position = 0

    async def seek() -> None:
        nonlocal position
        await asyncio.sleep(0)
        position = 0

    first = asyncio.create_task(fetches.rewind([1], seek_slowly))
    second = asyncio.create_task(fetches.rewind([1], seek))
    await asyncio.sleep(0)
    slow.set()
    await first
    while 1 in fetches.held:  # as the transport asks before each fetch
        await asyncio.sleep(0)
    barrier = await second
    with fetches.one() as serial:
        position += 15
    assert serial > barrier


async def test_a_seek_that_fails_holds_nothing_back() -> None:
    """Its partitions are fetched on."""
    fetches = Fetches()

    async def seek() -> None:
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            await fetches.rewind([1], seek)
    assert not fetches.held
