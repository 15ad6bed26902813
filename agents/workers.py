"""The processes of Attune: each role built from settings, with real clients."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client.registry import Collector

from agents import acls, engine_metrics, metrics, topology
from agents.clients import access, kafka, registry, valkey
from agents.clients.keystore import ValkeyKeyStore, Vault
from agents.clients.viewstore import ViewStore, parse_mark
from agents.documents import partitions_to_write
from agents.engine import changelog
from agents.engine.app import EngineApp, create_app, tune_garbage_collector
from agents.engine.job import Job, by_crc32
from agents.engine.kafka import KafkaLog, connected
from agents.errors import AttuneError
from agents.journal.coordinator import Coordinator
from agents.journal.documents import Documents
from agents.journal.router import Router
from agents.settings import Settings
from agents.view_metrics import ViewCollector, lag
from agents.views.agent import ViewAgent
from agents.views.clients import Log
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED, Codec
from schemas.registry import RemoteRegistry, publish_all, resolve

logger = logging.getLogger(__name__)

_STOP_SECONDS = 10.0
_DROP_SECONDS = 1.0
_AGAIN_SECONDS = 2.0

ROLES = ("router", "fold", "coordinator", "views")
WITH_REDIS = ("router", "views")
"""The roles that need Redis: for the keys of personal data, for the views."""


async def check_access(settings: Settings, role: str) -> None:
    """Raise AttuneError where the user of a role may not join its group, read or write what its work is."""
    await access.check(settings.kafka, role, acls.needed_to_work(role))


async def journal_partitions(settings: Settings) -> int:
    """Return over how many partitions of the journal customers are spread; waits for a cluster that is away.

    Raises AttuneError while the journal is being split.
    """
    while True:
        try:
            return await partitions_to_write(settings)
        except (KafkaError, OSError) as error:
            logger.warning("the approvals cannot be read yet: %s", str(error) or type(error).__name__)
            await asyncio.sleep(_AGAIN_SECONDS)


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
        producer=lambda: kafka.producer(settings.kafka, max_batch_size=kafka.LARGE_BATCH_BYTES),
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


def router(settings: Settings, *, partitions: int = CATALOGUE.topics[topics.JOURNAL].partitions) -> EngineApp:
    """Return the router's app; customers are spread over so many partitions of the journal."""
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
        partitions=partitions,
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

    job = topology.fold_job(
        documents,
        max_batch_records=settings.worker.max_batch_records,
        ready=ready,
        memory_bytes=settings.worker.memory_bytes,
    )
    app = engine_app(settings, job, rebuild=rebuild)
    app.task(follow_documents)
    return app


async def _with_consumer(settings: Settings, work: Callable[[AIOKafkaConsumer], Awaitable[None]]) -> None:
    consumer = await connected(lambda: kafka.consumer(settings.kafka))
    try:
        await work(consumer)
    finally:
        await consumer.stop()


async def coordinate(settings: Settings, gate: metrics.Gate) -> None:
    """Run the coordinator until cancelled; raises what ended it, where it is several things as a group.

    `gate` is opened once it is at work.  Raises AttuneError while the journal is being split, or if it has too few
    partitions.
    """
    partitions = await journal_partitions(settings)
    async with contextlib.AsyncExitStack() as clients:
        producer = await _connected(clients, lambda: kafka.producer(settings.kafka))
        approvals = await _connected(
            clients,
            lambda: kafka.consumer(
                settings.kafka, topics.APPROVALS, group=topology.COORDINATOR_GROUP, auto_offset_reset="earliest"
            ),
        )
        reader = await _connected(clients, lambda: kafka.consumer(settings.kafka))
        existing = len(await producer.partitions_for(topics.JOURNAL))
        if existing < partitions:
            raise AttuneError(
                f"{topics.JOURNAL} has {existing} partitions, but its customers are spread over {partitions}",
                "the topic was made anew with fewer: put the old one back",
            )
        coordinator = Coordinator(
            journal=topics.JOURNAL,
            partitions=partitions,
            producer=producer,
            approvals=approvals,
            find=functools.partial(Documents().find, reader),
            tick_seconds=settings.journal.tick_seconds if settings.journal.clock == "wall" else None,
            now_ms=lambda: int(time.time() * 1000),
        )
        approvals_seen = metrics.Counts(
            "attune_approvals",
            "Approvals that were taken in, by what became of them.",
            lambda: {"activated": coordinator.activated, "passed_over": coordinator.passed_over},
        )
        written = metrics.Counts(
            "attune_control_records",
            "Control records written to every partition of the journal, by kind.",
            lambda: {"tick": coordinator.ticks, "activation": coordinator.activated},
            label="kind",
        )
        with metrics.collected(settings.metrics, approvals_seen, written):
            gate.open()
            await coordinator.run()


async def keep_views(settings: Settings, gate: metrics.Gate) -> None:
    """Run the view agent until cancelled; gate and errors as `coordinate`."""
    documents = Documents()
    async with contextlib.AsyncExitStack() as clients:
        reader = await _connected(clients, lambda: kafka.consumer(settings.kafka))
        await documents.read(reader)
        redis = valkey.client(settings.views_url)
        clients.push_async_callback(redis.aclose)
        instance = settings.worker.instance
        member = await _connected(
            clients,
            lambda: kafka.consumer(
                settings.kafka,
                group=topology.VIEWS_GROUP,
                group_instance_id=None if instance is None else f"{topology.VIEWS_GROUP}-{instance}",
                auto_offset_reset="earliest",
                fetch_max_wait_ms=20,  # a record of a partition that the fetch under way leaves out waits so long
            ),
        )
        seen = lag()
        agent = ViewAgent(
            store=ViewStore(redis),
            log=view_log(settings, member),
            documents=documents,
            publish_seconds=settings.views.publish_seconds,
            on_lag=seen.observe,
        )
        following = asyncio.ensure_future(documents.follow(reader))
        try:
            with metrics.collected(settings.metrics, ViewCollector(agent), seen):
                gate.open()
                await agent.run()
        finally:
            following.cancel()
            await asyncio.wait([following])
            await asyncio.gather(_stop(member), _stop(reader))  # at once: each waits for a cluster that is away


def view_log(settings: Settings, member: AIOKafkaConsumer) -> Log:
    """Return what the view agent follows; `member` is a consumer of its group, started."""
    return Log(
        consumer=member,
        group=topology.VIEWS_GROUP,
        new_reader=lambda: kafka.consumer(settings.kafka),
        new_producer=lambda name: kafka.producer(settings.kafka, transactional_id=name),
        fence_of=changelog.fence_of,
        watermark=changelog.WATERMARK,
        partition_of=lambda key, count: by_crc32("", key, count),
        parse_mark=parse_mark,
    )


async def _connected(clients: contextlib.AsyncExitStack, new: Callable[[], Any]) -> Any:
    client = await connected(new)
    clients.push_async_callback(_stop, client)
    return client


async def _stop(client: Any) -> None:
    """Stop a client; one whose cluster is away would wait for it for ever, so it is left after a while."""
    try:
        await asyncio.wait_for(client.stop(), _STOP_SECONDS)
    except (TimeoutError, KafkaError) as error:
        logger.warning("a client of Kafka did not end in order: %r", error)
        await _drop(client)


async def _drop(client: Any) -> None:
    """Close the connections of a client whose end was cut short: it would leave them, and what opens them again."""
    if isinstance(client, AIOKafkaProducer):
        await client.client.close()
        return
    fetcher, connections = client._fetcher, client._client  # noqa: SLF001 - a consumer has no other way to them
    if fetcher is not None:
        closing = asyncio.ensure_future(fetcher.close())
        await asyncio.wait([closing], timeout=_DROP_SECONDS)
        closing.cancel()
    await connections.close()


def collector(role: str, app: EngineApp) -> Collector:
    """Return what shows an app's engine as metrics of a role."""
    return engine_metrics.EngineCollector(role, app.engine_options.engine)


def waits(app: EngineApp) -> str | None:
    """Return what a worker waits for before it does its work; None where it is at work."""
    return engine_metrics.waits(app.engine_options.engine)


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
