"""What every command needs: the settings, with the embedded platform's addresses where no others are set."""

import json
import sys
from typing import Any

from agents import logs, settings
from agents.errors import AttuneError
from agents.settings import Settings


def load(*, connect: bool = True, **flags: Any) -> Settings:
    """Return the settings and set up logs.

    With `connect`, addresses that are not set are those of the platform that `attune local up`
    started; AttuneError if none runs.
    """
    found = settings.load(**flags)
    logs.configure(found.log_level)
    return attached(found) if connect else found


def attached(found: Settings) -> Settings:
    """Fill in the embedded platform's addresses."""
    if found.kafka.bootstrap is not None and found.redis.url is not None:
        return found
    from agents.platform.local import LocalPlatform

    status = LocalPlatform(found.home).status()
    if not status.running:
        missing = "kafka.bootstrap" if found.kafka.bootstrap is None else "redis.url"
        raise AttuneError(
            f"{missing} is not set and no embedded platform runs under {found.home}",
            f"start one with `attune local up`, or set {settings.variable(missing)}",
        )
    kafka, redis = found.kafka, found.redis
    if kafka.bootstrap is None:
        found.identity_secret()  # of the embedded platform it is made once, and found by whoever comes later
        kafka = kafka.model_copy(update={"bootstrap": status.bootstrap, "replication_factor": 1})
    if redis.url is None:
        redis = redis.model_copy(update={"url": status.redis_url})
    return found.model_copy(update={"kafka": kafka, "redis": redis})


def print_json(value: Any) -> None:
    """Print one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
