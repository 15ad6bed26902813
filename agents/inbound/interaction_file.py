"""A file of interactions: JSON lines, looked through as a whole before anything is sent.

Empty lines are passed over. Neither function holds the file in memory.
"""

import collections
import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from agents.inbound.interaction_line import BadLine, Fault, Item, parse
from streams.clock import LATEST_MS
from streams.fold import DECLARED

KEPT_FAULTS: Final = 20
"""So many faults are kept to be shown; the others are counted."""
_EVERY: Final = 1_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclasses.dataclass(slots=True)
class Checked:
    """What stands in a file."""

    good: int = 0
    bad: int = 0
    """Lines with a fault."""
    faults: list[Fault] = dataclasses.field(default_factory=list)
    """The first of them, in the order of the file."""
    more_faults: int = 0
    undeclared: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Event types that nobody declared, with how many there are: contacts without meaning."""

    def refuse(self, bad: BadLine) -> None:
        """Count a bad line."""
        self.bad += 1
        room = KEPT_FAULTS - len(self.faults)
        self.faults += bad.faults[:room]
        self.more_faults += len(bad.faults[room:])


def check(
    lines: Iterable[bytes], *, latest_ms: int = LATEST_MS, on_progress: Callable[[int], None] | None = None
) -> Checked:
    """Look through all lines; `on_progress` is told now and then how many bytes were."""
    checked = Checked()
    done = 0
    for number, raw in _numbered(lines):
        done += len(raw)
        if on_progress is not None and number % _EVERY == 0:
            on_progress(done)
        try:
            _, event = parse(raw, number, latest_ms=latest_ms)
        except BadLine as bad:
            checked.refuse(bad)
            continue
        checked.good += 1
        if event["type"] not in DECLARED:
            checked.undeclared[event["type"]] += 1
    return checked


def items(lines: Iterable[bytes], *, latest_ms: int = LATEST_MS) -> Iterator[Item]:
    """Yield the good interactions in their order, passing over the bad ones."""
    for number, raw in _numbered(lines):
        try:
            yield parse(raw, number, latest_ms=latest_ms)
        except BadLine:
            continue


def nearest_declared(event_type: str) -> str | None:
    """Return the declared event type that is most like one that is not."""
    return next(iter(difflib.get_close_matches(event_type, list(DECLARED), n=1, cutoff=0.7)), None)


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, raw in enumerate(lines, 1):
        line = raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw
        if line.strip():
            yield number, line
