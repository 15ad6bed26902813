"""What a view is made of: the words that its writer, its store and its readers share.

A view of one customer is three things, each from a source of its own and each with a position that only grows: the
state (the fold's changelog), the actions (the decisions topic) and the suppressions (theirs).  A *mark* says of one
partition of a source how far the views contain it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from msgspec import Struct

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
    state in the views has been scored.
    """

    next: int
    position: int = -1
    appended_ms: int = 0
    shown_ms: int = 0
    clock_ms: int = 0
    policy: Document | None = None
    model: Document | None = None
    scored_by: str | None = None


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
    """One customer as the store has it; documents are JSON.  `marks` are all there are, by source."""

    state_position: str = NOWHERE
    state: bytes | None = None
    actions_position: str = NOWHERE
    actions: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    suppressions_position: str = NOWHERE
    suppressions: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    marks: Mapping[str, Mark | None] = dataclasses.field(default_factory=dict)

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
