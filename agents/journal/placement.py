"""Over how many partitions of the journal customers are spread: a fact in the log of approvals, not the topic's size.

Partitions that were added by hand hold nobody, and a split becomes valid for routers and coordinator at one moment.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from schemas.vocabulary import DocumentKind

KIND = DocumentKind.JOURNAL.value
_MOST_DIGITS = 9


class Step(StrEnum):
    """What an approval of kind JOURNAL says of the number that is its version; it stands in the field `name`."""

    PARTITIONS = "partitions"
    """Customers are spread over so many."""
    COPY = "copy"
    """The copies for so many have begun."""
    CLOSE = "close"
    """Nobody may write until customers are spread over so many."""


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """What the approvals say; `counts` are all numbers of partitions so far, the present one last."""

    counts: tuple[int, ...]
    approved: bool = False
    """Whether the number stands in the log; else it is the catalogue's."""
    copying_to: int | None = None
    """The number for which copies are being made."""
    closed: bool = False
    """Whether routers and coordinator must wait for the end of the split."""

    @property
    def partitions(self) -> int:
        """Over how many partitions customers are spread now."""
        return self.counts[-1]


def placement(approvals: Iterable[Mapping[str, Any]], default: int) -> Placement:
    """Return what approvals say, oldest first; those of other kinds, and words of later releases, are passed over."""
    counts: list[int] = []
    copying_to: int | None = None
    closed = False
    for body in approvals:
        if body.get("kind") != KIND or not body["version"].isdecimal() or len(body["version"]) > _MOST_DIGITS:
            continue
        number = int(body["version"])
        if body["name"] == Step.PARTITIONS and (not counts or number > counts[-1]):
            counts.append(number)
            copying_to, closed = None, False
        elif body["name"] in (Step.COPY, Step.CLOSE) and counts and number > counts[-1]:
            copying_to, closed = number, body["name"] == Step.CLOSE
    return Placement(tuple(counts) or (default,), bool(counts), copying_to, closed)
