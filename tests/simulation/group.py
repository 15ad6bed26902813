"""The coordinator of one consumer group: members, generations, commits, and who owns which partition."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping

from tests.simulation.cluster import Cluster

SESSION_SECONDS = 10.0
REBALANCE_SECONDS = 20.0
"""So long a rebalance waits for members that are alive and still busy giving up what they had."""
HEARTBEAT_SECONDS = 1.0


@dataclasses.dataclass(slots=True)
class _Member:
    heard: float
    joining: "asyncio.Future[tuple[int, list[int]]] | None" = None


class Group:
    """Hands out partitions; `check` is called with each commit that is accepted, before it counts."""

    def __init__(self, cluster: Cluster, partitions: int, check: Callable[[int, int], None]) -> None:
        self.generation = 0
        self.committed: dict[int, int] = {}
        self._cluster = cluster
        self._partitions = partitions
        self._check = check
        self._members: dict[str, _Member] = {}
        self._since: float | None = None
        """When the rebalance began that is under way."""

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def is_settled(self) -> bool:
        """Whether no rebalance is under way."""
        return self._since is None

    async def join(self, member: str) -> tuple[int, list[int]]:
        """Wait for the next generation; return its number and the partitions that the member owns in it."""
        await self._cluster.travel()
        found = self._members.setdefault(member, _Member(self._now()))
        found.heard = self._now()
        found.joining = asyncio.get_running_loop().create_future()
        if self._since is None:
            self._since = self._now()
        return await found.joining

    async def heartbeat(self, member: str, generation: int) -> bool:
        """Return whether the member is one of this generation and need not join again."""
        await self._cluster.travel()
        found = self._members.get(member)
        if found is None or generation != self.generation:
            return False
        found.heard = self._now()
        return self._since is None

    async def commit(self, member: str, generation: int, offsets: Mapping[int, int]) -> bool:
        """Take the commit of a member of this generation."""
        await self._cluster.travel()
        if member not in self._members or generation != self.generation:
            return False
        for partition, offset in offsets.items():
            self._check(partition, offset)
            self.committed[partition] = offset
        return True

    async def fetch(self, partition: int) -> int | None:
        """Return what is committed."""
        await self._cluster.travel()
        return self.committed.get(partition)

    def leave(self, member: str) -> None:
        """Take a member out at once."""
        if self._members.pop(member, None) is not None and self._since is None:
            self._since = self._now()

    async def run(self) -> None:
        """Expel who is silent, and end rebalances; the coordinator's own work."""
        while True:
            await asyncio.sleep(0.5)
            now = self._now()
            for name, member in list(self._members.items()):
                if member.joining is None and now - member.heard > SESSION_SECONDS:
                    self._cluster.say("group", f"expels {name}")
                    self.leave(name)
            if self._since is not None:
                self._end_rebalance(now - self._since > REBALANCE_SECONDS)

    def _end_rebalance(self, late: bool) -> None:
        waiting = [name for name, member in self._members.items() if member.joining is None]
        if waiting and not late:
            return
        for name in waiting:
            del self._members[name]
        self._since = None
        self.generation += 1
        names = sorted(self._members)
        for index, name in enumerate(names):
            member = self._members[name]
            assert member.joining is not None
            owned = [number for number in range(self._partitions) if number % len(names) == index]
            self._cluster.say("group", f"generation {self.generation}: {name} owns {owned}")
            if not member.joining.done():
                member.joining.set_result((self.generation, owned))
            member.joining = None
            member.heard = self._now()
