"""How far the groups are: what is in the logs against what is committed."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents.errors import AttuneError
from agents.ops.lag import GroupLag, Window, group_lag
from agents.ops.members import answered

_POLL_SECONDS = 0.1


class Progress:
    """Reads ends and commits; `start` before use, `stop` after."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        """Take a groupless consumer and an admin client, both not started."""
        self._consumer = consumer
        self._admin = admin
        self._window = Window()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()
        await self._admin.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()
        await self._admin.close()

    async def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """Return the end offset of every partition of a topic."""
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(tps)).items()}

    async def lag(self, groups: Iterable[str]) -> list[GroupLag]:
        """Return how far groups are behind, as `attune lag` shows it; one call at a time."""
        return await group_lag(self._admin, self._consumer, groups, window=self._window)

    async def behind(self, group: str, topic: str, partitions: int) -> int:
        """Return how many records a group has still to do."""
        committed = await answered(partial(self._admin.list_consumer_group_offsets, group))
        done = {tp.partition: found.offset for tp, found in committed.items() if tp.topic == topic}
        ends = await self.ends(topic, partitions)
        return sum(end - max(0, done.get(number, 0)) for number, end in ends.items())

    async def wait_done(
        self,
        groups: Iterable[tuple[str, str, int]],
        *,
        check: Callable[[], None],
        seconds: float = 600.0,
        also: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wait until all groups (group, topic, partitions) are done and `also` holds, twice in a row."""
        wanted = list(groups)
        deadline = time.monotonic() + seconds
        calm = 0
        while calm < 2:
            check()
            done = also() and not any([await self.behind(*group) for group in wanted])
            calm = calm + 1 if done else 0
            if time.monotonic() > deadline:
                raise AttuneError(f"the workers did not catch up within {seconds:.0f} s", "see the logs of the workers")
            await asyncio.sleep(_POLL_SECONDS)
