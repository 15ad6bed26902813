"""The contract's schemas against a registry: what differs, and the part of it that can be put right.

Schemas that are missing are registered, oldest first, and compatibility levels are set; what others registered under a
subject is only reported. Subjects are pairs (subject, schema name), as the catalogue gives them. The registry is an
opened client.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas import versions
from schemas.errors import RegistryRefused
from schemas.registry import COMPATIBILITY, Held, RemoteRegistry, held

Subjects = Iterable[tuple[str, str]]


class Aspect(StrEnum):
    """In what a subject may differ from the contract."""

    EXISTENCE = "existence"
    VERSION = "version"
    NEWEST = "newest"
    COMPATIBILITY = "compatibility"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing about one subject that is not as the contract says.

    `schema` is the schema's name; `version` its published version where the aspect is VERSION. `found` is None for
    what is not there; `advice` says what to do where `publish` will not do it.
    """

    subject: str
    schema: str
    aspect: Aspect
    wanted: str
    found: str | None
    version: int | None = None
    advice: str = ""

    @property
    def appliable(self) -> bool:
        """Whether `publish` puts it right."""
        return not self.advice

    def same_as(self, other: "Difference") -> bool:
        """Whether both are about the same thing, whatever they say of it."""
        return (self.subject, self.aspect, self.version) == (other.subject, other.aspect, other.version)

    def __str__(self) -> str:
        match self.aspect:
            case Aspect.EXISTENCE:
                text = f"missing, would have {self.wanted}"
            case Aspect.VERSION:
                text = f"{self.wanted} is not registered"
            case Aspect.NEWEST:
                text = f"its newest version is {self.found}, the contract's is {self.wanted}"
            case Aspect.COMPATIBILITY:
                text = f"compatibility is {self.found or 'not set'}, the contract says {self.wanted}"
        return f"{self.subject}: {text}; {self.advice}" if self.advice else f"{self.subject}: {text}"


@dataclass(frozen=True, slots=True)
class Published:
    """What was put right, and what differs still."""

    applied: Sequence[Difference]
    left: Sequence[Difference]


async def compare(registry: RemoteRegistry, subjects: Subjects) -> list[Difference]:
    """Return every difference, in the order of the subjects. Only reads.

    Whether a missing version is compatible is the registry's word, by the level that the subject has now.
    """
    found: list[Difference] = []
    for subject, name in subjects:
        there = await held(registry, subject, name)
        if there.newest is None:
            found.append(_absent(subject, name))
            continue
        level = await registry.compatibility(subject)
        if level != COMPATIBILITY:
            found.append(
                Difference(subject=subject, schema=name, aspect=Aspect.COMPATIBILITY, wanted=COMPATIBILITY, found=level)
            )
        found += [await _missing(registry, subject, version) for version in there.missing]
        found += _newest(subject, name, there)
    return found


async def publish(registry: RemoteRegistry, subjects: Subjects) -> Published:
    """Set levels and register what is missing; publishing again is harmless.

    When the registry refuses one schema none is registered, and what is left tells its reason. RegistryRefused where
    it refuses anything else, RegistryUnavailable when it does not answer.
    """
    pairs = tuple(subjects)
    planned = await compare(registry, pairs)
    applied = [found for found in planned if found.aspect is Aspect.COMPATIBILITY]
    for found in applied:
        await registry.require_compatibility(found.subject)
    if applied:  # only now the registry can tell what is compatible
        planned = await compare(registry, pairs)
    refused = [found for found in planned if found.aspect is Aspect.VERSION and not found.appliable]
    if refused:
        told = [await _with_reason(registry, found) for found in refused]
        left = await compare(registry, pairs)
        return Published(applied, [next((one for one in told if one.same_as(found)), found) for found in left])
    for found in planned:
        if found.aspect is Aspect.EXISTENCE:
            await registry.require_compatibility(found.subject)
        if found.aspect in {Aspect.EXISTENCE, Aspect.VERSION}:
            for version in _wanted(found):
                await registry.register(found.subject, version.schema)
            applied.append(found)
    return Published(applied, await compare(registry, pairs))


def _absent(subject: str, name: str) -> Difference:
    newest = versions.LATEST[name].number
    wanted = f"{name} {'version 1' if newest == 1 else f'versions 1 to {newest}'} and {COMPATIBILITY}"
    return Difference(subject=subject, schema=name, aspect=Aspect.EXISTENCE, wanted=wanted, found=None)


async def _missing(registry: RemoteRegistry, subject: str, version: versions.Version) -> Difference:
    objections = await registry.incompatibilities(subject, version.schema)
    return Difference(
        subject=subject,
        schema=version.name,
        aspect=Aspect.VERSION,
        wanted=f"{version.name} version {version.number}",
        found=None,
        version=version.number,
        advice=_refusal("; ".join(objections)) if objections else "",
    )


def _newest(subject: str, name: str, there: Held) -> Iterable[Difference]:
    assert there.newest is not None
    ours = there.ids.get(versions.LATEST[name].number)
    if ours is not None and there.newest.schema_id != ours:
        yield Difference(
            subject=subject,
            schema=name,
            aspect=Aspect.NEWEST,
            wanted=f"{name} version {versions.LATEST[name].number} (id {ours})",
            found=f"{there.newest.number} (id {there.newest.schema_id})",
            advice="its messages are read as long as it is compatible; upgrade Attune if a newer release registered "
            "it, else see who did",
        )


async def _with_reason(registry: RemoteRegistry, refused: Difference) -> Difference:
    """Ask for what is refused, since some registries give their reasons only then."""
    try:
        for version in _wanted(refused):
            await registry.register(refused.subject, version.schema)
    except RegistryRefused as error:
        return dataclasses.replace(refused, advice=_refusal(str(error)))
    return refused


def _refusal(reason: str) -> str:
    return (
        f"the registry refuses it: {reason}; nothing was registered: see who registered what is under the subject, "
        "and delete it there if it is no version of this contract"
    )


def _wanted(difference: Difference) -> Iterable[versions.Version]:
    """Return the versions that a difference misses, oldest first."""
    for version in versions.PUBLISHED:
        if version.name == difference.schema and difference.version in (None, version.number):
            yield version
