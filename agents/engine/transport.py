"""A transport for Faust that moves runs of records instead of single ones.

Register it as an entry point `faust.transports` and use the URL scheme `engine+kafka://`.  One
Faust message is one run of records of one topic-partition.  Faust's acknowledgements, gaps and
commit bookkeeping are not used: the engine knows what is durable, and only that is committed.

Names of Faust that are private are held by tests/agents/engine/test_private_names.py.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar, NamedTuple, cast

import aiokafka
import faust
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import Message
from mode import Service
from mode.utils.futures import maybe_async

from agents.engine.errors import Superseded
from agents.engine.fetches import Fetches
from agents.engine.kafka import connected, outside
from agents.engine.worker import Engine

logger = logging.getLogger(__name__)

SCHEME = "engine+kafka"
_ASK_AGAIN_SECONDS = 1.0
_BUSY_FETCH_SECONDS = 0.02
"""How long to wait for records while a partition is held back because its queue is full."""


class Run(NamedTuple):
    """The value of one Faust message: records of one partition.

    `serial` numbers the fetch.  It is drawn before the fetch begins, so that a run whose fetch
    began before a rewind can be told from one that began after it.
    """

    serial: int
    records: list[aiokafka.ConsumerRecord]


class RunSchema(faust.Schema):  # type: ignore[misc]
    """Hands a run to the agent as it is."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return Faust's decoding function: it decodes nothing."""

        async def decode(message: Message, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return app.create_event(message.key, message.value, message.headers, message)

        return decode


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread without a thread, around a consumer that the application builds.

    It lives in the loop of the fold: each fetch of a thread of its own costs four changes of thread, which is most of
    what a small batch costs, and both would wait for one another's lock.  So whoever folds must let go of the loop well
    within the session time-out: `Partition` does after every long batch, before another partition folds.
    """

    wait_for_shutdown = False

    def __init__(self, consumer: "Consumer", *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **options)

    async def start(self) -> None:
        """Start as a service that has no thread."""
        await self._default_start()

    async def maybe_start(self) -> bool:
        """Start unless started."""
        started = self._started.is_set()
        if not started:
            await self.start()
        return not started

    async def on_start(self) -> None:
        """Connect; a cluster that is away is waited for."""
        self._consumer = await connected(lambda: self._create_consumer(loop=self.thread_loop))
        self.time_started = time.monotonic()

    async def on_stop(self) -> None:
        """Leave the group and close the connections."""
        await self.on_thread_stop()

    async def stop(self) -> None:
        """Stop as a service that has no thread."""
        await Service.stop(self)

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call at once."""
        return await maybe_async(fun(*args, **options))

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        return transport.app.engine_options.new_consumer()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            return await self._taken(offsets)
        except KafkaError as error:
            logger.warning("commit failed and will be tried again: %r", error)
            return False

    async def is_member(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; return whether the group takes that from us.  A commit that fails otherwise is no answer."""
        while True:
            try:
                return await self._taken(offsets)
            except KafkaError as error:
                logger.warning("the group does not say whether it counts on us, asked again: %r", error)
                await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _taken(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; return False if the group refuses.  Raises what else goes wrong."""
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        wanted = {
            TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in assigned
        }
        if not wanted:
            return False
        try:
            await consumer.commit(wanted)
        except (CommitFailedError, IllegalStateError) as error:
            logger.info("commit refused, the group is rebalancing: %s", error)
            return False
        return True

    async def committed(self, tp: TP) -> int | None:
        """Return the group's committed offset."""
        offset = await self.call_thread(self._ensure_consumer().committed, TopicPartition(*tp))
        return None if offset is None else int(offset)


class _NoReadOffsets(dict[TP, None]):
    """Faust drops what lies below the offset it read last; after a rewind that would lose records.

    The engine passes over what it has folded, so Faust need remember nothing.
    """

    def __getitem__(self, tp: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: Any) -> None:
        pass

    def update(self, *_: Any, **__: Any) -> None:
        """Remember nothing."""


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Feeds runs to the agent and commits what the engine calls durable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine: Engine = self.app.engine_options.engine
        self._source: str = self._engine.job.source
        self._engine.bind(self, self.app.engine_options.on_fatal)
        self._read_offset = _NoReadOffsets()
        self._fetches = Fetches()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's signature
        """Yield one message per partition and fetch; its value is a `Run`."""
        if not self.flow_active:
            await self.wait(cast("Any", self.can_resume_flow))
        generation = self.app.consumer_generation_id
        active = self._get_active_partitions()
        wanted = {tp for tp in active if self._engine.wants(tp.partition) and tp.partition not in self._fetches.held}
        if not wanted:
            await self.sleep(_BUSY_FETCH_SECONDS)
            return
        all_in = len(wanted) == len(active)
        try:
            with self._fetches.one() as serial:
                fetched = await self._getmany(wanted, timeout if all_in else _BUSY_FETCH_SECONDS)
        except OffsetOutOfRangeError as error:
            self._engine.distrust(outside(error))
            await self.sleep(_BUSY_FETCH_SECONDS)
            return
        if not self.flow_active or generation != self.app.consumer_generation_id:
            return
        for tp, records in fetched.items():
            if records:
                yield TP(*tp), self._message(tp, Run(serial, records))

    def _message(self, tp: TP, run: Run) -> Message:
        last = run.records[-1]
        return Message(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            cast("Any", run),
            None,
            0,
            0,
            TP(*tp),
            generation_id=self.app.consumer_generation_id,
        )

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: `Engine.wants` bounds what is queued."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, as above."""

    async def perform_seek(self) -> None:
        """Restore the assigned partitions and seek behind their states (heartbeats go on meanwhile)."""
        numbers = [tp.partition for tp in self.assignment() if tp.topic == self._source]
        self._engine.rebalances += 1
        try:
            await self._engine.take_up(numbers)
        except asyncio.CancelledError:
            raise
        except Superseded as error:
            logger.info("%s", error)
        except Exception as error:  # noqa: BLE001 - a refused partition ends the process with its remedy
            await self.app.engine_options.on_fatal(error)
            await asyncio.Event().wait()

    async def rewind(self, positions: Mapping[int, int]) -> int:
        """Seek; return the serial number of the last run that was fetched before."""
        tps = {TP(self._source, number): offset for number, offset in positions.items()}

        async def seek() -> None:
            if tps:
                await self._thread.seek_wait(tps)

        return await self._fetches.rewind(positions, seek)

    async def committed(self, partition: int) -> int | None:
        """Return the group's committed offset of a partition of the source."""
        return await cast("ConsumerThread", self._thread).committed(TP(self._source, partition))

    async def check_ownership(self) -> bool:
        """Commit once more what is committed; the coordinator accepts that from a current member only."""
        assigned = {tp for tp in self.assignment() if tp.topic == self._source}
        offsets = {tp: offset for tp in assigned if (offset := await self.committed(tp.partition)) is not None}
        if not offsets:
            return bool(assigned)
        return await cast("ConsumerThread", self._thread).is_member(offsets)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002 - Faust's
        """Commit what the engine calls durable and has not been committed yet."""
        fresh = self._engine.uncommitted()
        if not fresh or not await self._thread.commit({TP(self._source, number): at for number, at in fresh.items()}):
            return False
        self._engine.told(fresh)
        return True

    async def wait_empty(self) -> None:
        """Drain the engine, then commit: called before partitions are given up and at the end."""
        await self._engine.revoke()
        await self.commit()
        self._engine.forget()

    async def on_stop(self) -> None:
        """Drain and commit for the last time."""
        await self.wait_empty()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: lag is measured from the log, not guessed from Faust's monitor."""


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust's producer, which nothing is sent by; it waits for a cluster that is away, as everybody here does."""

    async def on_start(self) -> None:
        """Connect."""
        await super(driver.Producer, self).on_start()
        self._producer = await connected(self._new_producer)
        self.beacon.add(self._producer)


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with runs for messages."""

    Consumer: ClassVar[type[Any]] = Consumer
    Producer: ClassVar[type[Any]] = Producer
    default_port = 9092


def runs_topic(app: faust.App, name: str) -> Any:
    """Return a Faust topic whose messages are runs."""
    return app.topic(name, schema=RunSchema(), acks=False)
