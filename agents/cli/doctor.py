"""`attune doctor`: what does not work, why it matters and how to mend it."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from agents.cli import context
from agents.errors import UsageError
from agents.settings import Settings

app = typer.Typer()


@app.command(
    "doctor",
    epilog="Examples: `attune doctor`, `attune doctor --role fold` as the fold's user, `attune doctor --json`; "
    "exit 1 when anything failed",
)
def doctor(
    *,
    role: Annotated[str | None, typer.Option(help="try what this role needs, e.g. fold; `attune acls` has all")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Look at brokers, TLS, passwords, rights, clocks, topics, Redis, registry and this machine; say how to mend them.

    It takes 15 seconds at most, also where servers are frozen, and changes nothing. With --role it looks by the rights
    of the user that is set: what that user may not see, and the role does not need, is not known.
    """
    from agents import acls
    from agents.cli import doctor_text

    known = {found.name: found.grants for found in acls.roles()}
    if role is not None and role not in known:
        raise UsageError(f"there is no role {role}", f"choose from {', '.join(known)}")
    found = _examine(role, known)
    wrong = any(one.status == "failed" for one in found)
    if json:
        context.print_json({"ok": not wrong, "role": role, "checks": [one.to_json() for one in found]})
    else:
        doctor_text.print_findings(found)
    raise typer.Exit(1 if wrong else 0)


def _examine(role: str | None, grants: Mapping[str, Sequence[Any]]) -> list[Any]:
    from agents.clients import access, kafka, registry, valkey
    from agents.ops.doctor import examination
    from agents.ops.doctor.case import Case
    from agents.ops.doctor.names import STEP_SECONDS
    from schemas.catalogue import CATALOGUE

    try:
        settings = context.load(connect=False)
        settings, embedded = _with_platform(settings)
        remote = registry.client(settings.registry)
    except UsageError as error:
        return examination.without_settings(error)
    tls, tls_error = None, None
    try:
        tls = kafka.ssl_context(settings.kafka)
    except UsageError as error:
        tls_error = error
    case = Case(
        settings=settings,
        role=role,
        embedded=embedded,
        context=tls,
        catalogue=CATALOGUE,
        grants=grants,
        principal=access.principal(settings.kafka),
        rights=access.rights,
        operations=access.topic_operations,
        partitions=_partitions,
        redis=lambda url: valkey.client(url, seconds=STEP_SECONDS),
        registry=remote,
        tls_error=tls_error,
    )
    with _quiet(settings.log_level):
        return asyncio.run(examination.examine(case))


@contextlib.contextmanager
def _quiet(level: str) -> Iterator[None]:
    """Keep what a client logs of its troubles to itself: it is told here in plain words."""
    client = logging.getLogger("aiokafka")
    before = client.level
    if level != "DEBUG":
        client.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        client.setLevel(before)


def _with_platform(settings: Settings) -> tuple[Settings, bool]:
    """Fill in the addresses of the embedded platform's servers that run, and tell whether its Kafka is the one used.

    Unlike `context.attached` it makes no secret, and half a platform is looked at, too.
    """
    from agents.platform.local import LocalPlatform

    kafka, redis = settings.kafka, settings.redis
    status = LocalPlatform(settings.home).status()
    embedded = kafka.bootstrap is None
    if embedded and status.kafka_pid is not None:
        kafka = kafka.model_copy(update={"bootstrap": status.bootstrap, "replication_factor": 1})
    if redis.url is None and status.valkey_pid is not None:
        redis = redis.model_copy(update={"url": status.redis_url})
    return settings.model_copy(update={"kafka": kafka, "redis": redis}), embedded


async def _partitions(settings: Settings) -> int:
    """Return over how many partitions of the journal customers are spread, or will be when a split is done."""
    from agents import documents

    placed = await documents.journal_placement(settings)
    return max(placed.partitions, placed.copying_to or 0)
