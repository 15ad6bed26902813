"""A platform for the tests of the views alone: they stop its Valkey, empty it, and write what only a fold may write."""

import asyncio
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from agents import documents as published
from agents.clients import kafka
from agents.ops import topics as topic_admin
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings, PrivacySettings, RedisSettings, Settings, ViewSettings
from schemas.catalogue import CATALOGUE
from tests.agents.cli.conftest import attune
from tests.agents.views.scribe import Scribe, documents

__all__ = ["attune"]


@pytest.fixture(scope="package")
def _views_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    platform = LocalPlatform(tmp_path_factory.mktemp("views"))
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture(scope="package")
def scribe(_views_platform: LocalPlatform) -> Scribe:
    """Return a fold with model and policy active, everything flushed."""
    settings = Settings(
        home=_views_platform.folder.parent,
        kafka=KafkaSettings(bootstrap=_views_platform.bootstrap, replication_factor=1),
        redis=RedisSettings(url=_views_platform.redis_url),
        privacy=PrivacySettings(secret=SecretStr("0123456789abcdef0123456789abcdef")),
        views=ViewSettings(publish_seconds=0.2),
    )
    scribe = Scribe(settings, _views_platform)

    async def prepare() -> None:
        admin = kafka.admin(settings.kafka)
        await admin.start()
        try:
            await topic_admin.apply(admin, CATALOGUE, replication=1)
        finally:
            await admin.close()
        for kind, raw in documents():
            found = await published.publish(settings, kind.lower(), raw, approved_by="test")
            scribe.activate(kind, raw, found.sequence)
        scribe.tick()
        await scribe.flush()

    asyncio.run(prepare())
    return scribe
