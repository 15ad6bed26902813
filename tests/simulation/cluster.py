"""The brokers: a log in memory behind a network that is slow, stands still, loses acknowledgements, delivers late."""

import asyncio
import collections
import contextvars
import dataclasses
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from agents.engine.errors import BatchTooLarge, SendAbandoned
from agents.engine.log import Bounds
from agents.engine.memory import MemoryLog
from agents.engine.records import PlainEntry, Record, size_of
from tests.simulation.loop import Loop

EPOCH_MS = 1_700_000_000_000
MOST_BYTES = 20_000
RUN = 40
"""Records of one read."""
Place = tuple[str, int]


@dataclasses.dataclass(slots=True)
class Weather:
    """What the network is like; probabilities and seconds."""

    quick: tuple[float, float] = (0.001, 0.02)
    slow: tuple[float, float] = (0.05, 3.0)
    slow_share: float = 0.05
    lost_ack_share: float = 0.0
    """Acknowledgements that come only when the request is sent again, or not before its sender gives it up."""
    on_the_wire_share: float = 0.5
    """Requests of a sender that is gone that arrive all the same."""
    latest: float = 200.0
    """So late."""


@dataclasses.dataclass(eq=False, slots=True)
class _Request:
    place: Place
    entries: Sequence[PlainEntry]
    answer: "asyncio.Future[int]"
    wanted: bool = True
    """Whether it is still on its way, and is not to be dropped."""


@dataclasses.dataclass(eq=False, slots=True)
class _Producer:
    """One idempotent producer: its requests to one partition arrive in order, each once."""

    name: str
    arrivals: dict[Place, float] = dataclasses.field(default_factory=dict)
    open: list[_Request] = dataclasses.field(default_factory=list)


class Cluster:
    """Holds the topics; `landed` is called for each batch with its place and the offset of its first record."""

    def __init__(
        self,
        loop: Loop,
        rng: random.Random,
        topics: dict[str, int],
        weather: Weather,
        landed: Callable[[Place, int, Sequence[PlainEntry], str], None],
    ) -> None:
        self.store = MemoryLog(topics, max_batch_bytes=MOST_BYTES)
        self.weather = weather
        self.closed = False
        self._loop = loop
        self._rng = rng
        self._landed = landed
        self._stands_until = 0.0
        self._stale: dict[Place, int] = {}
        """Of partitions whose former leader answers those who read, its end; who appends finds the new one."""
        self.trace: collections.deque[str] = collections.deque(maxlen=2000)

    def say(self, who: str, what: str) -> None:
        """Note what happened, for the trace."""
        self.trace.append(f"{self._loop.time():9.3f}  {who:<6} {what}")

    def delay(self) -> float:
        """Return how long one message takes."""
        weather = self.weather
        return self._rng.uniform(*(weather.slow if self._rng.random() < weather.slow_share else weather.quick))

    def stand_still(self, seconds: float) -> None:
        """Answer nobody for a while."""
        self._stands_until = self._loop.time() + seconds

    def lose(self, topic: str, partition: int, *, younger_than: float | None) -> None:
        """Lose a topic's partition, which is there again at once, or only what was appended in the last seconds."""
        end = 0
        if younger_than is not None:
            limit = self.now_ms() - int(younger_than * 1_000)
            kept = [one for one in self.store.between(topic, partition, 0, 2**62) if one.timestamp <= limit]
            end = kept[-1].offset + 1 if kept else 0
        self.store.lose(topic, partition, end)

    async def cut_off(self, topic: str, partition: int, seconds: float) -> None:
        """Let a leader that no append reaches any more tell who asks, now and then, where the partition ends."""
        place = (topic, partition)
        self._stale[place] = (await self.store.bounds(topic, partition)).end
        self._outside(self._loop.time() + seconds, self._stale.pop, place, None)

    async def told(self, topic: str, partition: int) -> Bounds:
        """Return the bounds as one of those who take themselves for the leader tells them."""
        bounds = await self.store.bounds(topic, partition)
        end = self._stale.get((topic, partition))
        if end is None or end < bounds.begin or self._rng.random() < 0.5:
            return bounds
        return bounds._replace(end=min(end, bounds.end))

    async def travel(self) -> None:
        """Wait until a request has been to the brokers and back."""
        if self.closed:
            raise asyncio.CancelledError
        await asyncio.sleep(self.delay())
        while self._loop.time() < self._stands_until:
            await asyncio.sleep(self._stands_until - self._loop.time())
        if self.closed:
            raise asyncio.CancelledError

    def append_now(self, topic: str, partition: int, entries: Sequence[PlainEntry], by: str) -> int:
        """Append without a network."""
        self.store.clock_ms = self.now_ms()
        base = self.store.append_now(topic, partition, entries)
        self._landed((topic, partition), base, entries, by)
        return base

    def now_ms(self) -> int:
        """Return the brokers' clock."""
        return EPOCH_MS + int(self._loop.time() * 1_000)

    def send(self, producer: _Producer, place: Place, entries: Sequence[PlainEntry]) -> "asyncio.Future[int]":
        """Put a request on its way, behind what the producer sent before to the same partition; return its answer."""
        request = _Request(place, entries, self._loop.create_future())
        producer.open.append(request)
        arrival = max(self._loop.time() + self.delay(), producer.arrivals.get(place, 0.0))
        producer.arrivals[place] = arrival
        self._outside(arrival, self._arrive, producer, request)
        return request.answer

    def leave(self, producer: _Producer, late: float | None = None) -> None:
        """Forget a producer; what it has sent is on the wire all the same and arrives so many seconds `late`.

        Without `late` some of it does, at any time.
        """
        for request in producer.open:
            request.wanted = False
            if late is not None or self._rng.random() < self.weather.on_the_wire_share:
                copy = _Request(request.place, request.entries, self._loop.create_future())
                wait = self._rng.uniform(0, self.weather.latest) if late is None else late
                when = max(producer.arrivals[request.place], self._loop.time() + wait)
                producer.arrivals[request.place] = when
                self._outside(when, self._arrive, producer, copy)
        producer.open.clear()

    def _arrive(self, producer: _Producer, request: _Request) -> None:
        if not request.wanted:
            return
        if self._loop.time() < self._stands_until:
            self._outside(self._stands_until, self._arrive, producer, request)
            return
        if request in producer.open:
            producer.open.remove(request)
        base = self.append_now(*request.place, request.entries, producer.name)
        wait = self.delay()
        if self._rng.random() < self.weather.lost_ack_share:
            wait += self._rng.uniform(1.0, 60.0)
        self._outside(self._loop.time() + wait, _answer, request.answer, base)

    def _outside(self, when: float, callback: Callable[..., None], *args: Any) -> None:
        """Schedule what no process's end stops."""
        self._loop.call_at(when, callback, *args, context=_WORLD)


_WORLD = contextvars.Context()


def _answer(future: "asyncio.Future[int]", base: int) -> None:
    if not future.done():
        future.set_result(base)


class Client:
    """The log as one process sees it; implements `agents.engine.log.Log`."""

    def __init__(
        self, cluster: Cluster, name: str, *, states: str = "", send_seconds: float = 30.0, skew_ms: int = 0
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._states = states
        self._send_seconds = send_seconds
        self._skew_ms = self.first_skew_ms = skew_ms
        """What this process's clock is ahead of the brokers', until an acknowledgement tells."""
        self._watched: tuple[Callable[[Sequence[PlainEntry]], bool], asyncio.Future[None]] | None = None
        self._opened = 0
        self._producer = self._open()

    def _open(self) -> _Producer:
        self._opened += 1
        return _Producer(f"{self._name}.{self._opened}")

    async def append(self, topic: str, partition: int, entries: Sequence[PlainEntry]) -> int:
        if self._cluster.closed:
            raise asyncio.CancelledError
        if size_of(entries) > MOST_BYTES:
            raise BatchTooLarge(f"{size_of(entries)} bytes for {topic}")
        producer = self._producer
        if topic == self._states and self._watched is not None:
            wanted, seen = self._watched
            if wanted(entries) and not seen.done():
                seen.set_result(None)
        try:
            async with asyncio.timeout(self._send_seconds):
                base = await self._cluster.send(producer, (topic, partition), entries)
        except TimeoutError as error:
            raise SendAbandoned(f"no acknowledgement for {topic}/{partition}") from error
        self._skew_ms = 0
        return base

    def watch(self, wanted: "Callable[[Sequence[PlainEntry]], bool]") -> "asyncio.Future[None]":
        """Return what is done as soon as this process sends such a batch of states."""
        seen = asyncio.get_running_loop().create_future()
        self._watched = wanted, seen
        return seen

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        while start < end:
            await self._cluster.travel()
            await self._cluster.store.holds(topic, partition, start, end)
            run = self._cluster.store.between(topic, partition, start, end)[:RUN]
            if not run:
                return
            yield run
            start = run[-1].offset + 1

    async def bounds(self, topic: str, partition: int) -> Bounds:
        await self._cluster.travel()
        return await self._cluster.told(topic, partition)

    async def partitions(self, topic: str) -> int:
        return await self._cluster.store.partitions(topic)

    async def abandon(self) -> None:
        producer, self._producer = self._producer, self._open()
        waiting = list(producer.open)
        self._cluster.leave(producer)
        for request in waiting:
            if not request.answer.done():
                request.answer.set_exception(SendAbandoned("the producer was abandoned"))
        await asyncio.sleep(0)

    def die(self, late: float | None = None) -> None:
        """End with the process: what is on the wire arrives, see `Cluster.leave`."""
        self._cluster.leave(self._producer, late)

    def now_ms(self) -> int:
        return self._cluster.now_ms() + self._skew_ms
