"""A process that runs the real engine, fed and committed for as agents/engine/transport.py does it under Faust."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping

from agents.engine.errors import OffsetGone, Superseded
from agents.engine.fetches import Fetches
from agents.engine.job import Job
from agents.engine.records import Record
from agents.engine.worker import Engine
from tests.simulation.cluster import Client, Cluster
from tests.simulation.group import HEARTBEAT_SECONDS, Group
from tests.simulation.loop import PROCESS, Loop, Process

COMMIT_SECONDS = 1.0
POLL_SECONDS = (0.05, 2.0)
"""How soon a fetch that found nothing is repeated: the first and the longest pause."""


class Worker:
    """One process from its start to its death; `on_fatal` is told why it ends by itself."""

    def __init__(
        self,
        name: str,
        job: Job,
        *,
        loop: Loop,
        cluster: Cluster,
        group: Group,
        latency: Callable[[], float],
        on_fatal: Callable[["Worker", BaseException], None],
        skew_ms: int = 0,
        rebuild: bool = False,
    ) -> None:
        self.process = Process(name)
        self.client = Client(cluster, name, states=job.changelog or "", skew_ms=skew_ms)
        self.engine = Engine(job, self.client, rebuild=rebuild)
        self.leaving = False
        self._job = job
        self._loop = loop
        self._cluster = cluster
        self._group = group
        self._latency = latency
        self._on_fatal = on_fatal
        self.generation = 0
        self._owned: list[int] = []
        self._positions: dict[int, int] = {}
        self._fetches = Fetches()
        self._buffer: asyncio.Queue[tuple[int, list[Record], int]] = asyncio.Queue()

    @property
    def name(self) -> str:
        """Name of the process, which is its member id too."""
        return self.process.name

    def start(self) -> None:
        """Begin, as the callbacks of a process of its own."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self.process)
        self._loop.create_task(self._main(), context=context)

    async def _main(self) -> None:
        self.engine.bind(self, self._fatal)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fetch())
            tasks.create_task(self._hand_over())
            tasks.create_task(self._commit_often())
            tasks.create_task(self._be_member())

    async def _fatal(self, error: BaseException) -> None:
        self._on_fatal(self, error)
        await asyncio.Event().wait()

    # -- what a consumer of the group does

    async def _be_member(self) -> None:
        while not self.leaving:
            self.generation, self._owned = await self._group.join(self.name)
            taking_up = asyncio.create_task(self._take_up())
            while not self.leaving:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                if not await self._group.heartbeat(self.name, self.generation):
                    break
            self._cluster.say(self.name, f"gives up {self._owned}")
            self._positions.clear()
            await self.engine.revoke()
            await self._commit()
            self.engine.forget()
            del taking_up  # it ends by itself, with Superseded
        self._group.leave(self.name)
        self.process.dead = True

    async def _take_up(self) -> None:
        try:
            await self.engine.take_up(self._owned)
        except Superseded:
            return
        except Exception as error:  # noqa: BLE001 - as in the transport
            await self._fatal(error)

    async def _fetch(self) -> None:
        pause, longest = POLL_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = min(max(2 * pause, POLL_SECONDS[0]), longest)
            wanted = [
                (number, position)
                for number, position in sorted(self._positions.items())
                if number not in self._fetches.held and self.engine.wants(number)
            ]
            if not wanted:
                continue
            generation = self.generation
            with self._fetches.one() as serial:
                await self._cluster.travel()
            if generation != self.generation:
                continue
            for number, position in wanted:
                if self._positions.get(number) != position:
                    continue
                end = (await self._cluster.told(self._job.source, number)).end
                if position > end:
                    self.engine.distrust(OffsetGone(f"{self._job.source}/{number} at {position}"))
                    continue
                upto = min(position + 15, end)
                records = self._cluster.store.between(self._job.source, number, position, upto)
                if records:
                    pause = 0.0
                    self._positions[number] = records[-1].offset + 1
                    self._buffer.put_nowait((number, records, serial))

    async def _hand_over(self) -> None:
        while True:
            number, records, serial = await self._buffer.get()
            await asyncio.sleep(self._latency())
            self.engine.submit(number, records, serial)

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        fresh = self.engine.uncommitted()
        if fresh and await self._group.commit(self.name, self.generation, fresh):
            self.engine.told(fresh)

    # -- what the engine asks of its source

    async def committed(self, partition: int) -> int | None:
        """See `agents.engine.worker.Source`."""
        return await self._group.fetch(partition)

    async def check_ownership(self) -> bool:
        """See `agents.engine.worker.Source`."""
        found = {number: offset for number in self._owned if (offset := await self.committed(number)) is not None}
        if not found:
            return bool(self._owned)
        return await self._group.commit(self.name, self.generation, found)

    async def rewind(self, positions: Mapping[int, int]) -> int:
        """See `agents.engine.worker.Source`."""

        async def seek() -> None:
            if positions:
                await asyncio.sleep(self._latency())
            self._positions.update(positions)

        return await self._fetches.rewind(positions, seek)
