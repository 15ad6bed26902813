"""The schema registry, where one is set beside the embedded one: whether it answers and has this contract."""

import asyncio
import dataclasses
import re
from typing import Final
from urllib.parse import urlsplit

from agents.ops.doctor.case import Case
from agents.ops.doctor.finding import Finding, Trouble, failed, ok, warning
from agents.ops.doctor.names import Address, open_port
from agents.ops.registry import Aspect, compare
from schemas.errors import RegistryRefused, RegistryUnavailable
from schemas.registry import COMPATIBILITY, RemoteRegistry

REGISTRY: Final = "registry"
_PORTS: Final = {"http": 80, "https": 443}
_REFUSED: Final = re.compile(r": (401|403)\b")
_WHY: Final = "the router waits for the registry before it begins, and for each schema that it does not know"
_REFUSES: Final = "the router cannot register it, so that it never begins"
_WHYS: Final = {
    (Aspect.EXISTENCE, Aspect.VERSION): "other teams' clients cannot read or write these by the registry's ids; the "
    "router registers them when it starts, if it may",
    (Aspect.COMPATIBILITY,): "the registry lets a producer register a schema that readers of older records cannot "
    "read: its records become dead letters",
    (Aspect.NEWEST,): "others wrote it: a record of theirs may become a dead letter",
}


async def look(case: Case) -> list[Finding]:
    """Ask the registry for every subject of the catalogue; only reads."""
    url = case.settings.registry.url
    if url is None or case.registry is None:
        return [ok(REGISTRY, "none is set: the schemas of this release are used")]
    parts = urlsplit(url)
    where = Address(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    try:
        await open_port(REGISTRY, where, setting="ATTUNE_REGISTRY__URL", server="the schema registry")
        async with case.registry as registry:
            return await _ask(registry, where, sorted(set(case.catalogue.subjects())))
    except Trouble as trouble:
        return [trouble.finding()]
    except (RegistryUnavailable, RegistryRefused) as error:
        found = _REFUSED.search(str(error))
        if found is None:
            remedy = "see that ATTUNE_REGISTRY__URL is the base of a Confluent-compatible API and that it is well"
        elif found[1] == "401":
            remedy = (
                "correct ATTUNE_REGISTRY__USER and ATTUNE_REGISTRY__PASSWORD, or ATTUNE_REGISTRY__TOKEN for a "
                "bearer token"
            )
        else:
            remedy = "allow this user to read subjects and their configuration (and the router to write them)"
        what = "does not answer as it should" if found is None else "refuses these credentials"
        return [failed(REGISTRY, f"the registry at {where} {what}: {error}", _WHY, remedy)]


async def _ask(registry: RemoteRegistry, where: Address, subjects: list[tuple[str, str]]) -> list[Finding]:
    first, *rest = ([one] for one in subjects)  # one alone, so that a refusal is told once
    found = [await compare(registry, first), *await asyncio.gather(*(compare(registry, one) for one in rest))]
    differences = [one for differing in found for one in differing]
    if not differences:
        return [ok(REGISTRY, f"the registry at {where} has all {len(subjects)} subjects, {COMPATIBILITY}")]
    refused = [one for one in differences if one.aspect is Aspect.VERSION and not one.appliable]
    findings = [failed(REGISTRY, f"{one}", _REFUSES, one.advice) for one in refused]
    for aspects, why in _WHYS.items():
        told = [one for one in differences if one.aspect in aspects and one not in refused]
        if told:
            remedy = told[0].advice or "`attune registry publish` registers and sets it; `attune registry plan` first"
            shown = "; ".join(str(dataclasses.replace(one, advice="")) for one in told)
            findings.append(warning(REGISTRY, f"at {where}: {shown}", why, remedy))
    return findings
