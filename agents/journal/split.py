"""The journal grows in place: the order of things, so that a crash at any point is continued by the same command.

    copies under load -> routers and coordinator stop -> closed -> a Split ends each old partition for those who move
    -> the rest is copied, the folds have folded the old partitions -> a Split ends the copies -> the number is approved

The Split of an old partition comes before the last copies, so that its offset alone says what moves: nothing that is
written meanwhile falls between. The folds must be done with the old partitions before anything new is written for those
who move, since their new partition is folded at its own speed and a recall must not stand before its proposal.
"""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agents.errors import AttuneError, UsageError
from agents.journal.copies import Copies, Told
from agents.journal.placement import Placement, Step

LITTLE = 2_000
"""Records left to copy at which routers are asked to stop."""
LARGEST_FACTOR = 16
"""A split multiplies the partitions by at most so much: a slip of the finger could not be taken back."""
_POLL_SECONDS = 0.3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a split needs to know and to do beside copying.

    `members` returns how many routers and coordinators are in their groups, `folded` what the folds have committed of
    each journal partition; `approve` writes an approval; `say` tells the operator.
    """

    members: Callable[[], Awaitable[int]]
    folded: Callable[[], Awaitable[Mapping[int, int]]]
    approve: Callable[[Step, int], Awaitable[Any]]
    say: Callable[[str], None]
    told: Told | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """What a split did: records that this run copied, and for how long nobody could write."""

    partitions: int
    copied: int
    paused_seconds: float


def check(found: Placement, existing: int, wanted: int) -> None:
    """Raise UsageError for a number that the journal cannot be split to, AttuneError where another split has begun."""
    before = found.partitions
    if wanted <= before or wanted % before:
        raise UsageError(
            f"customers are spread over {before} partitions, and {wanted} is no larger multiple of that",
            f"choose a multiple, e.g. {2 * before}: then each new one has customers of one old one alone",
        )
    if wanted > LARGEST_FACTOR * before:
        raise UsageError(
            f"{wanted} is more than {LARGEST_FACTOR} times the {before} partitions there are",
            f"choose at most {LARGEST_FACTOR * before}: partitions cannot be taken away again, and each one costs "
            "files and memory of every broker",
        )
    if existing > wanted:
        raise UsageError(
            f"the journal has {existing} partitions already, more than {wanted}", f"choose a multiple of {before} above"
        )
    if found.copying_to is not None and found.copying_to != wanted:
        raise AttuneError(
            f"a split to {found.copying_to} partitions has begun and must be finished first",
            f"run `attune journal split --to {found.copying_to}`",
        )


async def split(found: Placement, wanted: int, copies: Copies, cluster: Cluster, *, wait: float | None = None) -> Done:
    """Split a journal whose topic has its new partitions; goes on where an earlier run ended.

    `wait` bounds in seconds how long routers may take to stop and folds to catch up, None for as long as it takes;
    AttuneError after that, when the same command goes on.
    """
    if not found.approved:
        await cluster.approve(Step.PARTITIONS, found.partitions)
    if found.copying_to is None:
        await cluster.approve(Step.COPY, wanted)
    await copies.open()
    while await copies.catch_up(cluster.told) > LITTLE:
        pass
    if not found.closed:
        cluster.say("the copies are up to date; now stop the routers and the coordinator (interactions wait meanwhile)")
    await _until(lambda: _nobody(cluster, copies), wait, "routers or a coordinator are still in their groups")
    began = time.monotonic()
    if not found.closed:
        await cluster.approve(Step.CLOSE, wanted)
        await _until(lambda: _nobody(cluster, copies), wait, "a router or a coordinator has begun meanwhile")
        cluster.say("the journal is closed: routers and coordinator refuse to start until it is split, folds may run")
    await copies.cut()
    cuts = copies.cuts

    async def folded() -> bool:
        committed = await cluster.folded()
        return all(committed.get(number, 0) > cut for number, cut in cuts.items())

    if not await folded():
        cluster.say("everything is copied; waiting for the folds to be done with the old partitions (they must run)")
    await _until(folded, wait, "the folds are not done with the old partitions: see that they run (`attune lag`)")
    await copies.finish()
    await cluster.approve(Step.PARTITIONS, wanted)
    return Done(wanted, sum(target.copied for target in copies.targets), time.monotonic() - began)


async def _nobody(cluster: Cluster, copies: Copies) -> bool:
    if await cluster.members():
        await copies.catch_up(cluster.told)
        return False
    return True


async def _until(true: Callable[[], Awaitable[bool]], wait: float | None, otherwise: str) -> None:
    deadline = None if wait is None else time.monotonic() + wait
    while not await true():
        if deadline is not None and time.monotonic() > deadline:
            raise AttuneError(
                f"after {wait:g} s {otherwise}", "see to it, then run the same command again; it goes on where it was"
            )
        await asyncio.sleep(_POLL_SECONDS)
