"""A Faust application around a job: what a user declares and `faust worker` runs."""

import asyncio
import dataclasses
import gc
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer

from agents.engine.errors import EngineError
from agents.engine.job import Job
from agents.engine.kafka import KafkaLog
from agents.engine.transport import SCHEME, runs_topic
from agents.engine.worker import Engine

logger = logging.getLogger(__name__)

_LONGEST_RESTORE_SECONDS = 3_600.0
_WATCHDOG_SECONDS = 15.0
_STOP_SECONDS = 30.0


@dataclasses.dataclass(slots=True)
class EngineOptions:
    """What the transport finds on its app."""

    engine: Engine
    new_consumer: Callable[[], AIOKafkaConsumer]
    on_fatal: Callable[[BaseException], Any]


class EngineApp(faust.App):  # type: ignore[misc]
    """A `faust.App` whose agent hands runs of records to an engine."""

    engine_options: EngineOptions
    fatal: BaseException | None = None

    async def stop(self) -> None:
        """Stop in order; if that hangs, as it may while the broker is away, end the process all the same."""
        _end_process_after(_STOP_SECONDS)
        await super().stop()

    async def on_stop(self) -> None:
        """Close the log after the consumer has drained into it."""
        await super().on_stop()
        await self.engine_options.engine.stop()
        log = self.engine_options.engine.log
        if isinstance(log, KafkaLog):
            await log.stop()

    async def die(self, error: BaseException) -> None:
        """End the process because of `error`; if Faust's shutdown hangs, end it all the same."""
        self.fatal = error
        if isinstance(error, EngineError):
            logger.error("%s: %s", type(error).__name__, error)
        else:
            logger.error("the engine failed", exc_info=error)
        _end_process_after(_WATCHDOG_SECONDS)
        self.loop.call_soon(lambda: asyncio.ensure_future(self.crash(error)))


def create_app(
    job: Job,
    *,
    brokers: str,
    log: KafkaLog,
    new_consumer: Callable[[], AIOKafkaConsumer],
    rebuild: bool = False,
    **settings: Any,
) -> EngineApp:
    """Return a Faust app that runs `job`; start it with `faust worker` or `faust.Worker`.

    `brokers` is `host:port[,host:port]`; `new_consumer` builds an aiokafka consumer with the job's
    name as its group, `enable_auto_commit=False`, `auto_offset_reset="none"` and a `max_poll_interval_ms` beyond the
    longest wait: a partition that is blocked, or restored for long, is not polled.  `settings` go to `faust.App`
    (credentials, data directory).
    """
    urls = [f"{SCHEME}://{address.strip()}" for address in brokers.split(",")]
    engine = Engine(job, log, rebuild=rebuild)
    app = EngineApp(
        job.name,
        broker=urls,
        broker_commit_interval=settings.pop("broker_commit_interval", 1.0),
        broker_request_timeout=_LONGEST_RESTORE_SECONDS,
        stream_wait_empty=True,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        producer_request_timeout=30.0,
        **settings,
    )
    app.engine_options = EngineOptions(engine, new_consumer, app.die)

    async def hand_over(runs: Any) -> None:
        runs.enable_acks = False
        async for run in runs:
            engine.submit(run.records[0].partition, run.records, run.serial)

    app.agent(runs_topic(app, job.source), name=f"{job.name}.fold")(hand_over)
    return app


def _end_process_after(seconds: float) -> None:
    watchdog = threading.Timer(seconds, os._exit, args=(1,))
    watchdog.daemon = True
    watchdog.start()


def tune_garbage_collector() -> None:
    """Collect young objects less often: 1.2-1.5 times the rate on small records (see tests/benchmarks)."""
    gc.set_threshold(200_000, 50, 1_000)
