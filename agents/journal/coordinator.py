"""Control records in every journal partition: ticks of the clock, activations of approved documents.

Each kind has a sequence that only grows (a tick its time, an activation the offset of its
approval) and the fold passes over what is not newer.  So retries are harmless, and so are two
coordinators.

An approval whose document is missing or cannot be read is passed over, as is garbage: it is logged with
its offset, the reason and what to do, and counted.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from agents.journal import placement
from agents.journal.approval import Find, examine
from schemas import headers as names
from schemas import versions
from schemas.codec import EMBEDDED, Codec
from schemas.errors import ContractError
from streams import logic

logger = logging.getLogger(__name__)

_CONTROL = versions.LATEST["Control"].fingerprint.encode()
_POLL_MS = 500


class Producer(Protocol):
    """What the coordinator needs of a producer: aiokafka's, idempotent and started."""

    async def send_and_wait(
        self, topic: str, value: bytes, *, partition: int, headers: Sequence[tuple[str, bytes]]
    ) -> Any:
        """Append one record and wait for its acknowledgement."""


class Consumer(Protocol):
    """What it needs of a consumer: aiokafka's, in its group, subscribed to the approvals, started."""

    async def getmany(self, *, timeout_ms: int) -> dict[Any, list[Any]]:
        """Return records by partition."""

    async def commit(self) -> None:
        """Commit what was returned."""


class Coordinator:
    """Writes control records; `run` until cancelled."""

    def __init__(
        self,
        *,
        journal: str,
        partitions: int,
        producer: Producer,
        approvals: Consumer,
        find: Find,
        codec: Codec = EMBEDDED,
        tick_seconds: float | None = 1.0,
        now_ms: Any = None,
        newest_logic: int = logic.NEWEST,
    ) -> None:
        """Take clients that are started, and what finds documents.

        `partitions` is over how many customers are spread: a journal that is being split has more. `tick_seconds`
        None leaves the clock to watermarks in the stream. `newest_logic` is the newest version that the folds know.
        """
        self._journal = journal
        self._partitions = partitions
        self._producer = producer
        self._approvals = approvals
        self._find = find
        self._codec = codec
        self._tick_seconds = tick_seconds
        self._now_ms = now_ms
        self._newest_logic = newest_logic
        self.activated = 0
        """Activations written since the start."""
        self.passed_over = 0
        """Approvals that became no activation since the start."""
        self.ticks = 0
        """Ticks written to every partition since the start."""

    async def run(self) -> None:
        """Write ticks and activations until cancelled; an error of a client ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._activate())
            if self._tick_seconds is not None:
                group.create_task(self._tick(self._tick_seconds))

    async def _tick(self, seconds: float) -> None:
        while True:
            await self._everywhere(b"tick", {"time": self._now_ms()})
            self.ticks += 1
            await asyncio.sleep(seconds)

    async def _activate(self) -> None:
        while True:
            fetched = await self._approvals.getmany(timeout_ms=_POLL_MS)
            for records in fetched.values():
                for record in records:
                    await self._activation(record)
            if fetched:
                await self._approvals.commit()

    async def _activation(self, record: Any) -> None:
        try:
            body = self._codec.decode(record.value, "Control")["body"]
            if body.get("kind") == placement.KIND:
                return  # of a split: it is read at the start, and activates nothing
            await examine(body, self._find, newest_logic=self._newest_logic)
        except ContractError as error:
            self.passed_over += 1
            logger.error("approval %s/%d/%d passed over: %s", record.topic, record.partition, record.offset, error)
            return
        await self._everywhere(b"activation", {**body, "sequence": record.offset})
        self.activated += 1
        logger.info("activated %s %s version %s", body["kind"].lower(), body["name"], body["version"])

    async def _everywhere(self, kind: bytes, body: dict[str, Any]) -> None:
        value = EMBEDDED.encode("Control", {"body": body})
        headers = [(names.KIND, kind), (names.SCHEMA, _CONTROL)]
        await asyncio.gather(
            *(
                self._producer.send_and_wait(self._journal, value, partition=partition, headers=headers)
                for partition in range(self._partitions)
            )
        )
