"""What a check found: one line of the report, with its remedy."""

import asyncio
import dataclasses
from collections.abc import Awaitable
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "not known"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: what was found, why it matters, and exactly how to mend it.

    Of what is well `why` and `remedy` are empty; of what is not known `found` says why it could not be looked at.
    """

    name: str
    status: Status
    found: str
    why: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return {**dataclasses.asdict(self), "status": self.status.value}


class Trouble(Exception):
    """What keeps a check from its aim, with why it matters and the remedy; `name` is the check that has failed."""

    def __init__(self, name: str, found: str, why: str, remedy: str) -> None:
        super().__init__(found)
        self.name = name
        self.found = found
        self.why = why
        self.remedy = remedy

    def finding(self, status: Status = Status.FAILED) -> Finding:
        """Return it as a line of the report."""
        return Finding(name=self.name, status=status, found=self.found, why=self.why, remedy=self.remedy)


def ok(name: str, found: str) -> Finding:
    """Return that something is well."""
    return Finding(name=name, status=Status.OK, found=found)


def warning(name: str, found: str, why: str, remedy: str) -> Finding:
    """Return what works and is a risk."""
    return Finding(name=name, status=Status.WARNING, found=found, why=why, remedy=remedy)


def failed(name: str, found: str, why: str, remedy: str) -> Finding:
    """Return what does not work, or loses data."""
    return Finding(name=name, status=Status.FAILED, found=found, why=why, remedy=remedy)


def not_known(name: str, reason: str, remedy: str = "") -> Finding:
    """Return that something could not be looked at, and why."""
    return Finding(name=name, status=Status.UNKNOWN, found=reason, remedy=remedy)


def blocked(names: tuple[str, ...], by: str) -> list[Finding]:
    """Return that some things could not be looked at since another check has failed."""
    return [not_known(name, f"not looked at, since {by} failed") for name in names]


async def bounded(name: str, work: Awaitable[list[Finding]], seconds: float) -> list[Finding]:
    """Return the findings of a check; what has not ended in time did not answer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return [
            failed(
                name,
                f"no answer within {seconds:.0f} s",
                "whoever waits for it waits for ever",
                "see whether the server is overloaded or frozen, and run `attune doctor` again",
            )
        ]
