"""The clients that commands on dead letters need, each opened when it is first used."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from agents.cli import connect, context
from agents.errors import AttuneError
from agents.settings import Settings


class Session:
    """Clients for one command; those of Redis and the producer are opened at first use."""

    def __init__(self, settings: Settings, cluster: Any, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self._settings = settings
        self._stack = stack
        self._store: Any = None
        self._producer: Any = None
        self._codec: Any = None
        self._registry: Any = None

    async def open(self, block: Any) -> bytes:
        """Open a sealed block with the key store."""
        from agents.clients import sealing, valkey
        from agents.clients.keystore import KeyErased, ValkeyKeyStore

        if self._store is None:
            client = valkey.client(context.attached(self._settings).redis.url)
            self._stack.push_async_callback(client.aclose)
            self._store = ValkeyKeyStore(client)
        try:
            return sealing.unseal(block, await self._store.get(block.key_id))
        except (KeyErased, sealing.CannotOpen) as error:
            raise AttuneError(
                str(error), "the keys of sealed data are in Redis (redis.url): is it the one that the router uses?"
            ) from error

    async def producer(self) -> Any:
        """Return a started producer."""
        from agents.clients import kafka

        if self._producer is None:
            self._producer = kafka.producer(self._settings.kafka)
            await self._producer.start()
            self._stack.push_async_callback(self._producer.stop)
        return self._producer

    async def frame_id(self, fingerprint: str) -> int:
        """Return the id under which interactions of a committed schema are published."""
        from schemas import topics, versions
        from schemas.registry import subject_of

        version = versions.BY_FINGERPRINT.get(fingerprint)
        if version is None:
            raise AttuneError(
                f"no committed schema has the fingerprint {fingerprint or '(none)'}", "this release may be too old"
            )
        registry = await self._opened_registry()
        if registry is None:
            return version.schema_id
        return int(await registry.register(subject_of(topics.INTERACTIONS), version.schema))

    async def decoded(self, letter: Any, record: Any) -> Any:
        """Return the record decoded, or why it cannot be."""
        from schemas.codec import Codec, decode_by_fingerprint, schema_id_of
        from schemas.errors import ContractError
        from schemas.headers import SCHEMA

        if letter.truncated is not None:
            return None
        try:
            fingerprint = dict(record.headers).get(SCHEMA)
            if fingerprint is not None:
                return _plain(decode_by_fingerprint(fingerprint.decode("ascii", "replace"), record.value))
            codec, registry = Codec(), await self._opened_registry()
            if registry is not None:
                schema_id = schema_id_of(record.value)
                codec.learn(schema_id, await registry.schema(schema_id))
            return _plain(codec.decode(record.value))
        except ContractError as error:
            return {"undecodable": str(error)}

    async def _opened_registry(self) -> Any:
        if self._registry is None:
            registry = connect.remote_registry(self._settings)
            if registry is not None:
                self._registry = await self._stack.enter_async_context(registry)
        return self._registry


@asynccontextmanager
async def _session(settings: Settings) -> AsyncIterator[Session]:
    from agents.clients import kafka
    from agents.ops.deadletters import Cluster

    async with AsyncExitStack() as stack:
        cluster = Cluster(kafka.admin(settings.kafka), kafka.consumer(settings.kafka))
        stack.push_async_callback(cluster.admin.close)
        await cluster.admin.start()
        stack.push_async_callback(cluster.consumer.stop)
        await cluster.consumer.start()
        yield Session(settings, cluster, stack)


def run(work: Callable[[Session], Awaitable[Any]]) -> Any:
    """Do the work of one command with clients that are closed after it."""
    settings = connect.kafka_settings()

    async def main() -> Any:
        async with _session(settings) as session:
            return await work(session)

    with connect.explained(settings):
        return asyncio.run(main())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
