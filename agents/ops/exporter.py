"""The cluster's exporter: looks at groups and topics, follows outputs, and goes on whatever happens to the cluster."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from agents.ops import outputs
from agents.ops.latency import Latency
from agents.ops.outputs import Outputs
from agents.ops.survey import Survey, Surveyor
from agents.ops.survey_metrics import families

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 30.0
"""A look that takes longer is given up."""
_STALE_LOOKS = 3
"""Figures older than so many looks, and than `stale_seconds`, are no longer shown."""
_RETRY_SECONDS = 2.0
_STOP_SECONDS = 5.0
_POLL_MS = 250
_SAMPLE_SECONDS = 1.0


class Exporter(Collector):
    """Surveys a cluster until cancelled, and is what Prometheus reads of it."""

    def __init__(
        self,
        *,
        admin: Callable[[], Any],
        consumer: Callable[[], Any],
        registry: CollectorRegistry,
        interval: float = 5.0,
        window_seconds: float = 60.0,
        stale_seconds: float = 15.0,
    ) -> None:
        """Take factories of clients that are not started (the consumer without group and subscription).

        `interval` is the time from look to look, seconds; status and trend are judged over `window_seconds`; figures
        that are older than `stale_seconds` are no longer shown.
        """
        self._new_admin = admin
        self._new_consumer = consumer
        self._interval = interval
        self._stale_seconds = max(stale_seconds, _STALE_LOOKS * interval)
        self._surveyor = Surveyor(window_seconds=window_seconds)
        self._outputs = Outputs(registry)
        self._latency = Latency(registry)
        self.survey: Survey | None = None
        self._ok = False
        self._looks = 0
        self._failures = 0
        self._look_seconds = 0.0
        self._success_at = 0.0
        """Wall clock of the last look that succeeded, 0 for none."""
        self._next: dict[TopicPartition, int] = {}
        """Where the outputs go on after a reconnect."""
        self._at_the_end = True
        """Whether a partition that is seen now was there before us, so that it is followed from its end."""
        self._first_survey = asyncio.Event()

    async def run(self) -> None:
        """Look, follow and sample until cancelled; trouble with the cluster is told and waited for, never raised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again("looking at groups and topics", self._look))
            group.create_task(self._again("following outputs", self._follow))
            group.create_task(self._again("sampling latencies", self._sample))

    def collect(self) -> Iterable[Metric]:
        """Yield what is known now; figures of the cluster only while they are fresh."""
        survey = self.survey
        age = None if survey is None else time.monotonic() - survey.at
        fresh = age is not None and age <= self._stale_seconds
        yield from self._own(up=self._ok and fresh)
        if survey is not None and fresh:
            yield from families(survey)

    def describe(self) -> Iterable[Metric]:
        """Name no family beforehand: the registry need not look at the cluster to register this."""
        return ()

    @property
    def follows(self) -> bool:
        """Whether outputs that come from now on are counted."""
        return bool(self._next)

    def _own(self, *, up: bool) -> Iterator[Metric]:
        yield GaugeMetricFamily("attune_exporter_up", "1 while the newest look at the cluster succeeded.", value=up)
        yield GaugeMetricFamily(
            "attune_exporter_last_success_timestamp_seconds",
            "When a look last succeeded, seconds since 1970, 0 for never.",
            value=self._success_at,
        )
        yield GaugeMetricFamily(
            "attune_exporter_look_seconds", "How long the newest look took.", value=self._look_seconds
        )
        yield CounterMetricFamily("attune_exporter_looks", "Looks that succeeded.", value=self._looks)
        yield CounterMetricFamily("attune_exporter_failures", "Times that the cluster failed us.", value=self._failures)

    async def _again(self, doing: str, work: Callable[[], Any]) -> None:
        """Do a piece of work, which ends only by failing, over and over."""
        while True:
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except (KafkaError, OSError) as error:  # TimeoutError among them
                self._failed(doing)
                logger.warning("%s: %s; trying again", doing, str(error) or type(error).__name__)
            except Exception:  # a bug, or an answer that nobody foresaw: operators need the other figures all the more
                self._failed(doing)
                logger.exception("%s failed; trying again", doing)
            await asyncio.sleep(_RETRY_SECONDS)

    def _failed(self, doing: str) -> None:
        self._failures += 1
        if doing.startswith("looking"):
            self._ok = False

    async def _look(self) -> None:
        async with _started(self._new_admin()) as admin, _started(self._new_consumer()) as consumer:
            while True:
                begun = time.monotonic()
                async with asyncio.timeout(_LOOK_SECONDS):
                    self.survey = await self._surveyor.look(admin, consumer)
                self._look_seconds = time.monotonic() - begun
                self._success_at = time.time()
                self._ok = True
                self._looks += 1
                self._first_survey.set()
                await asyncio.sleep(max(0.0, self._interval - self._look_seconds))

    async def _follow(self) -> None:
        await self._first_survey.wait()
        async with _started(self._new_consumer()) as consumer:
            assigned: set[TopicPartition] = set()
            while True:
                wanted = self._wanted()
                if wanted and wanted != assigned:
                    await self._assign(consumer, wanted)
                    assigned = wanted
                self._at_the_end = False
                if not assigned:
                    await asyncio.sleep(self._interval)
                    continue
                for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS, max_records=2_000)).items():
                    for record in records:
                        position = self._outputs.take(record)
                        if position is not None:
                            self._latency.offer(position, record.timestamp)
                    self._next[tp] = records[-1].offset + 1

    def _wanted(self) -> set[TopicPartition]:
        assert self.survey is not None
        return {TopicPartition(topic, number) for topic in outputs.TOPICS for number in self.survey.numbers(topic)}

    async def _assign(self, consumer: Any, tps: set[TopicPartition]) -> None:
        """Go on where outputs were left; begin at the end of what was there before us, else at the start."""
        consumer.assign(sorted(tps))
        begins, ends = await consumer.beginning_offsets(sorted(tps)), await consumer.end_offsets(sorted(tps))
        for tp in tps:
            offset = self._next.get(tp, ends[tp] if self._at_the_end else begins[tp])
            if not begins[tp] <= offset <= ends[tp]:  # deleted meanwhile, or the topic was made anew
                offset = begins[tp]
            self._next[tp] = offset
            consumer.seek(tp, offset)

    async def _sample(self) -> None:
        async with _started(self._new_consumer()) as consumer:
            while True:
                await asyncio.sleep(_SAMPLE_SECONDS)
                await self._latency.measure(consumer)


@contextlib.asynccontextmanager
async def _started(client: Any) -> AsyncIterator[Any]:
    """Start a client and stop it at the end; one that waits for a cluster that is away is left after a while."""
    stop = getattr(client, "stop", None) or client.close
    try:
        await client.start()
        yield client
    finally:
        try:
            await asyncio.wait_for(stop(), _STOP_SECONDS)
        except (TimeoutError, KafkaError, OSError) as error:
            logger.info("a client of Kafka did not end in order: %r", error)
