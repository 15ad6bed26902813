"""What commands that look at a cluster need: its settings, a registry if one is set, and errors in plain words."""

import contextlib
from collections.abc import Iterator

from agents.addresses import without_password
from agents.cli import context
from agents.errors import AttuneError
from agents.settings import Settings
from schemas.registry import RemoteRegistry


def kafka_settings() -> Settings:
    """Return settings that reach Kafka; unlike `context.load` no Redis is asked for."""
    settings = context.load(connect=False)
    return context.attached(settings) if settings.kafka.bootstrap is None else settings


def remote_registry(settings: Settings) -> RemoteRegistry | None:
    """Return a client of the registry that is set, not yet opened; None where the embedded one is used."""
    from agents.clients import registry

    return registry.client(settings.registry)


@contextlib.contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn errors of Kafka, Redis and the registry into ones that say what to do."""
    from aiokafka.errors import KafkaError
    from redis.exceptions import RedisError

    from schemas.errors import RegistryUnavailable

    try:
        yield
    except KafkaError as error:
        raise AttuneError(
            f"Kafka at {settings.kafka.bootstrap} did not answer as it should: {error or type(error).__name__}",
            "see that it runs and that kafka.bootstrap and its TLS and SASL settings are right",
        ) from error
    except RedisError as error:
        raise AttuneError(
            f"Redis at {without_password(settings.redis.url or '')} did not answer as it should: {error}",
            "see that it runs and that redis.url is right; it keeps the keys of sealed data",
        ) from error
    except RegistryUnavailable as error:
        raise AttuneError(str(error), "see that the registry runs and that registry.url is right") from error
