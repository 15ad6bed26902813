"""The processes of Attune: each role built from settings, with real clients."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from agents import topology
from agents.clients import kafka, registry, valkey
from agents.clients.keystore import ValkeyKeyStore, Vault
from agents.engine.app import EngineApp, create_app, tune_garbage_collector
from agents.engine.job import Job
from agents.engine.kafka import KafkaLog
from agents.journal.coordinator import Coordinator
from agents.journal.documents import Documents
from agents.journal.router import Router
from agents.settings import Settings
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED, Codec
from schemas.registry import RemoteRegistry, publish_all, resolve

logger = logging.getLogger(__name__)

_STOP_SECONDS = 10.0

ROLES = ("router", "fold", "coordinator")


def engine_app(settings: Settings, job: Job, *, rebuild: bool = False) -> EngineApp:
    """Return a Faust app for a job, its clients built from the settings."""
    instance = settings.worker.instance

    def member() -> AIOKafkaConsumer:
        return kafka.consumer(
            settings.kafka,
            group=job.name,
            group_instance_id=None if instance is None else f"{job.name}-{instance}",
            max_partition_fetch_bytes=1_048_576,
        )

    log = KafkaLog(
        producer=lambda: kafka.producer(settings.kafka),
        consumer=lambda: kafka.consumer(settings.kafka),
        send_seconds=job.send_seconds,
    )
    directory = settings.home / "faust" / job.name
    directory.mkdir(parents=True, exist_ok=True)
    return create_app(
        job,
        brokers=settings.kafka.bootstrap or "",
        log=log,
        new_consumer=member,
        rebuild=rebuild,
        broker_commit_interval=settings.worker.commit_seconds,
        datadir=str(directory),
        **kafka.faust_options(settings.kafka),
    )


def router(settings: Settings) -> EngineApp:
    """Return the router's app."""
    vault = Vault(ValkeyKeyStore(valkey.client(settings.redis.url)))
    remote = registry.client(settings.registry)

    async def connect() -> Codec:
        assert remote is not None
        return await publish_all(remote, CATALOGUE.subjects())

    async def learn(codec: Codec, schema_id: int) -> None:
        assert remote is not None
        await resolve(codec, remote, schema_id)

    step = Router(
        journal=topics.JOURNAL,
        partitions=CATALOGUE.topics[topics.JOURNAL].partitions,
        secret=settings.identity_secret(),
        codec=EMBEDDED,
        vault=vault,
        connect=None if remote is None else connect,
        resolve=None if remote is None else learn,
        in_band_clock=settings.journal.clock == "watermarks",
    )
    job = topology.router_job(step, vault, max_batch_records=settings.worker.max_batch_records)
    app = engine_app(settings, job)
    if remote is not None:
        _enter_with(app, remote)
    return app


def fold(settings: Settings, *, rebuild: bool = False) -> EngineApp:
    """Return the fold's app; with `rebuild` it folds every state again from the journal, once."""
    documents = Documents()

    async def ready() -> None:
        """Read the documents that are there: a rebuild meets their activations before Faust starts any task."""
        if not documents:
            await _with_consumer(settings, documents.read)

    async def follow(consumer: AIOKafkaConsumer) -> None:
        await documents.read(consumer)
        await documents.follow(consumer)

    async def follow_documents() -> None:
        await _with_consumer(settings, follow)

    job = topology.fold_job(documents, max_batch_records=settings.worker.max_batch_records, ready=ready)
    app = engine_app(settings, job, rebuild=rebuild)
    app.task(follow_documents)
    return app


async def _with_consumer(settings: Settings, work: Callable[[AIOKafkaConsumer], Awaitable[None]]) -> None:
    consumer = kafka.consumer(settings.kafka)
    await consumer.start()
    try:
        await work(consumer)
    finally:
        await consumer.stop()


async def coordinate(settings: Settings) -> None:
    """Run the coordinator until cancelled; raises what ended it, where it is several things as a group."""
    async with contextlib.AsyncExitStack() as clients:
        producer = await _started(clients, kafka.producer(settings.kafka))
        approvals = await _started(
            clients,
            kafka.consumer(
                settings.kafka, topics.APPROVALS, group=topology.COORDINATOR_GROUP, auto_offset_reset="earliest"
            ),
        )
        reader = await _started(clients, kafka.consumer(settings.kafka))
        coordinator = Coordinator(
            journal=topics.JOURNAL,
            partitions=len(await producer.partitions_for(topics.JOURNAL)),
            producer=producer,
            approvals=approvals,
            find=functools.partial(Documents().find, reader),
            tick_seconds=settings.journal.tick_seconds if settings.journal.clock == "wall" else None,
            now_ms=lambda: int(time.time() * 1000),
        )
        await coordinator.run()


async def _started(clients: contextlib.AsyncExitStack, client: Any) -> Any:
    clients.push_async_callback(_stop, client)
    await client.start()
    return client


async def _stop(client: Any) -> None:
    """Stop a client; one whose cluster is away would wait for it for ever, so it is left after a while."""
    try:
        await asyncio.wait_for(client.stop(), _STOP_SECONDS)
    except (TimeoutError, KafkaError) as error:
        logger.warning("a client of Kafka did not end in order: %r", error)


def run_app(app: EngineApp) -> int:
    """Run a Faust app in this process until a signal; return the exit code."""
    tune_garbage_collector()
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None  # it writes to logs, too
    try:
        worker.execute_from_commandline()
    except SystemExit as leaving:
        code = leaving.code
        return 1 if app.fatal is not None else (code if isinstance(code, int) else 0)
    except Exception:  # whatever Faust raises again at its end has been logged where it happened
        if app.fatal is None:
            logger.exception("the worker failed")
        return 1
    return 0 if app.fatal is None else 1


def _enter_with(app: EngineApp, remote: RemoteRegistry) -> None:
    """Open the registry's session for as long as the app runs."""

    async def hold() -> None:
        async with remote:
            await asyncio.Event().wait()

    app.task(hold)
