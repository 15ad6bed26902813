"""What a view is made of: the words that its writer, its store and its readers share.

A view of one customer is three things, each from a source of its own and each with a position that only grows: the
state (the fold's changelog), the actions (the decisions topic) and the suppressions (theirs).  A *mark* says of one
partition of a source how far the views contain it.

Which partition has a customer's state is said by the marks themselves: a partition that was split says to how many, and
it does so before anything is written for those who have moved. So whoever goes by marks alone never takes a partition
for somebody's that is not, however few of them there are.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from schemas import identity, topics

STATE: Final = "customer"
ACTIONS: Final = "actions"
SUPPRESSIONS: Final = "suppressions"
PARTS: Final = (STATE, ACTIONS, SUPPRESSIONS)

NOWHERE: Final = ""
"""Position before every other."""


class Away(Exception):
    """The store does not answer, or not as it should; nothing is lost, try again."""


class Moved(Exception):
    """The views that were meant are no longer the ones in use: a rebuild has replaced them, or the store lost them."""


class Document(Struct, frozen=True):
    """A policy or model that is active in a journal partition; `sequence` is its approval's and only grows."""

    name: str
    version: str
    sha256: str
    sequence: int


COPYING = ""
"""Stands for the model that scored while a partition is filled with copies, of which nothing is shown: no model has
this digest, so that all states are derived as soon as the copies have ended."""


class Mark(Struct, frozen=True):
    """How far the views contain one partition of a source; times are milliseconds since 1970.

    `next` is the offset that is to be applied next.  `shown_ms` is the time of the newest look whose records have all
    been applied: the views show whatever had been durable by then.  Of a partition of the changelog, `position` is the
    journal offset up to which the fold had come, `clock_ms` its event time, `scored_by` the model by which every
    state in the views has been scored, and `split_to` over how many partitions its customers are spread since it was
    split: 0 if it never was, None where an older release wrote the mark.
    """

    next: int
    position: int = -1
    appended_ms: int = 0
    shown_ms: int = 0
    clock_ms: int = 0
    policy: Document | None = None
    model: Document | None = None
    scored_by: str | None = None
    split_to: int | None = None


class StateWrite(NamedTuple):
    """One customer's state at a position; None removes it."""

    customer: str
    position: str
    document: bytes | None


class Entry(NamedTuple):
    """One output of the fold: what stands under an id from here on, None for nothing any more.

    With `now` (RFC 3339), what was valid until an earlier moment is dropped at the same time.
    """

    position: str
    id: str
    document: bytes | None
    now: str = ""


class EntriesWrite(NamedTuple):
    """Outputs of one customer, in their order; `part` is ACTIONS or SUPPRESSIONS."""

    part: str
    customer: str
    entries: tuple[Entry, ...]


Write = StateWrite | EntriesWrite


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """One customer as the store has it; documents are JSON.  `marks` are all there are, by source.

    `partitions` says by topic over how many partitions the views were made: of the changelog the number before every
    split. It is empty until a view agent has said so.
    """

    state_position: str = NOWHERE
    state: bytes | None = None
    actions_position: str = NOWHERE
    actions: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    suppressions_position: str = NOWHERE
    suppressions: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    marks: Mapping[str, Mark | None] = dataclasses.field(default_factory=dict)
    partitions: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the customer."""
        return not (self.state_position or self.actions_position or self.suppressions_position)


def state_position(partition: int, fence: int, model: Document | None) -> str:
    """Return where a state stands: by its journal offset, then by the model that scored it; texts compare so.

    The partition comes first: when the journal is split, a customer moves only to one with a higher number.
    """
    return f"{partition:05d}.{fence:016d}.{0 if model is None else model.sequence + 1:010d}"


def output_position(partition: int, offset: int, emission: int) -> str:
    """Return where an output stands: by its journal offset, then by its index; texts compare so, as those of states."""
    return f"{partition:05d}.{offset:016d}.{emission:06d}"


def place(position: str) -> tuple[int, int]:
    """Return partition and offset of the journal in a position; -1 and -1 for NOWHERE, or what is no position."""
    partition, _, rest = position.partition(".")
    offset = rest.partition(".")[0]
    return (int(partition), int(offset)) if partition.isdecimal() and offset.isdecimal() else (-1, -1)


def source(topic: str, partition: int) -> str:
    """Return the name of one partition of a source, under which its mark is kept."""
    return f"{topic}/{partition}"


def homes(customer: str, first: int, marks: Mapping[str, Mark | None]) -> list[int]:
    """Return the journal partitions that may have something of a customer, the one that has the state now first.

    `first` is the number of partitions before every split. All of them must be fresh: of one that was split, what was
    written before it; of one that is filled with copies, that they have not ended. Where numbers between two splits
    are not known, those that may have been are taken in.
    """
    counts, found = [first], []
    for count in counts:  # it grows while splits are found
        number = identity.journal_partition(customer, count)
        mark = marks.get(source(topics.FOLD_CHANGELOG, number))
        found.append((count, number, mark is not None and mark.scored_by == COPYING))
        counts += _later(first, mark, counts)
    found.sort()
    own = next((number for _, number, copying in reversed(found) if not copying), found[0][1])
    return list(dict.fromkeys((own, *(number for _, number, _ in found))))


def _later(first: int, mark: Mark | None, known: Sequence[int]) -> list[int]:
    """Return the numbers of partitions that a mark tells of: those by which a split may have gone to the newest."""
    last = 0 if mark is None else mark.split_to or 0
    if last in known or last <= first:
        return []
    return [count for count in (*range(first, last, first), last) if last % count == 0 and count not in known]


def spread(first: int, marks: Mapping[str, Mark | None]) -> int:
    """Return over how many partitions customers are spread, or will be once a split is done, by all marks."""
    return max([first, *(mark.split_to or 0 for mark in marks.values() if mark is not None)])


def doubt(source: str, mark: Mark | None, now_ms: float, stale_seconds: float) -> str | None:
    """Return why what a source's mark stands for is stale, None while it is fresh."""
    if mark is not None and mark.split_to is None and source.startswith(f"{topics.FOLD_CHANGELOG}/"):
        return "was marked by an older release, which does not say whether the journal was split"
    return stale_because(mark, now_ms, stale_seconds)


def stale_because(mark: Mark | None, now_ms: float, stale_seconds: float) -> str | None:
    """Return why what a mark stands for is stale, None while it is fresh.

    A time that lies ahead is a clock that was set back: not known, hence stale.
    """
    if mark is None or not mark.shown_ms:
        return "has not been applied to its end yet"
    age = (now_ms - mark.shown_ms) / 1_000
    if age > stale_seconds:
        return f"was last known to be applied to its end {age:.1f} s ago"
    if age < -stale_seconds:
        return f"was last known to be applied to its end {-age:.1f} s ahead of the clock of this machine"
    return None


def plain(document: Document | None) -> dict[str, Any] | None:
    """Return a document as plain values, without its sequence."""
    return None if document is None else {"name": document.name, "version": document.version, "sha256": document.sha256}
