"""The sign that a rebuild is at work: kept through short troubles, and its loss ends the rebuild at once."""

import asyncio
import contextlib

import pytest

from agents.view import Away, Moved
from agents.views import rebuild


class Sign:
    """A store of which only the sign is wanted; each asking takes the next of what is to come."""

    def __init__(self, *coming: Exception | None) -> None:
        self.coming = list(coming)
        self.asked = asyncio.Event()

    async def keep_building(self, generation: str) -> None:
        assert generation == "g"
        error = self.coming.pop(0) if self.coming else None
        if not self.coming:
            self.asked.set()
        if error is not None:
            raise error


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_KEEP_SECONDS", 0.01)
    monkeypatch.setattr(rebuild, "_AGAIN_SECONDS", 0.01)


async def test_redis_is_away_for_a_moment() -> None:
    """The sign is kept once Redis is back, and the rebuild never hears of it."""
    store = Sign(Away("glitch"), Away("glitch"), None, None)

    async def work() -> str:
        await store.asked.wait()
        return "done"

    async with asyncio.timeout(90):
        assert await rebuild.kept(store, "g", work()) == "done"  # type: ignore[arg-type]
    assert not store.coming


async def test_another_rebuild_has_begun() -> None:
    """The one that was taken over ends there and then, with what it was told, and undoes what it had begun."""
    undone = []

    async def work() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(undone.append, True)
            await asyncio.Event().wait()

    with pytest.raises(Moved, match="taken over"):
        async with asyncio.timeout(90):
            await rebuild.kept(Sign(None, Away("glitch"), Moved("taken over")), "g", work())  # type: ignore[arg-type]
    assert undone


async def test_what_the_work_raises() -> None:
    """It is what the rebuild raises."""

    async def work() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await rebuild.kept(Sign(), "g", work())  # type: ignore[arg-type]


async def test_a_rebuild_that_is_interrupted() -> None:
    """Its work has ended when the interruption goes on."""
    undone = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            undone.append(True)

    task = asyncio.ensure_future(rebuild.kept(Sign(), "g", work()))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone
