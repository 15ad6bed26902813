"""What was asked of a replay: checked, and made independent of when and where it was typed."""

import asyncio
import dataclasses
import difflib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.errors import UsageError
from agents.settings import Settings
from schemas.vocabulary import Channel

if TYPE_CHECKING:
    from agents.history.plan import Bounds
    from agents.history.selection import Selection, What


class By(StrEnum):
    """Which time a range means."""

    APPEND = "append"
    EVENT = "event"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where it goes: a file, a topic, or the screen where both are None."""

    file: Path | None
    topic: str | None

    @property
    def is_screen(self) -> bool:
        """Whether it is printed."""
        return self.file is None and self.topic is None


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a replay is to do; `words` are the user's own and tell whether a resumed one is the same."""

    selection: "Selection"
    bounds: "Bounds"
    partitions: tuple[int, ...] | None
    """None stands for all."""
    target: Target
    batch: int
    words: dict[str, Any]


def file_of(text: str) -> Path:
    """Return the path of --to-file; UsageError for what names a folder."""
    if not text.strip() or text.endswith(os.sep) or Path(text).is_dir():
        raise UsageError(f"--to-file {text!r} names a folder", "add the name of a new file")
    return Path(text)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options as they were typed."""

    from_text: str | None
    to_text: str | None
    by: By
    from_offset: int | None
    to_offset: int | None
    partitions: tuple[int, ...]
    customers: tuple[str, ...]
    channels: tuple[Channel, ...]
    types: tuple[str, ...]
    what: str
    target: Target
    batch: int

    def check(self) -> None:
        """Raise UsageError for options that contradict one another or cannot be meant; no Kafka is needed."""
        times = self.from_text is not None or self.to_text is not None
        offsets = self.from_offset is not None or self.to_offset is not None
        if times and offsets:
            raise UsageError("--from and --to bound times, --from-offset and --to-offset offsets", "use one pair")
        if offsets and len(self.partitions) != 1:
            raise UsageError("an offset means something in one partition only", "add one --partition")
        if self.from_offset is not None and self.to_offset is not None and self.from_offset > self.to_offset:
            raise UsageError(
                f"--from-offset {self.from_offset:,} is after --to-offset {self.to_offset:,}", "exchange them"
            )
        if self.partitions and self.customers:
            raise UsageError("a customer has one partition, which is found by itself", "leave --partition out")
        if self.target.file is not None and self.target.topic is not None:
            raise UsageError("--to-file and --to-topic exclude each other", "replay twice")
        if self.target.file is not None and not self.target.file.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {self.target.file.parent}", "make it first")
        _refuse_own_topic(self.target.topic)

    def resolve(self, settings: Settings, *, now_ms: int) -> Request:
        """Return what it means; a note on standard error names types that nobody declared."""
        from agents import documents
        from agents.cli.customers import surrogate_of
        from agents.history.moments import moment_ms
        from agents.history.plan import Bounds
        from agents.history.selection import Selection
        from schemas.identity import journal_partition

        begin = None if self.from_text is None else moment_ms(self.from_text, now_ms, "--from")
        end = None if self.to_text is None else moment_ms(self.to_text, now_ms, "--to")
        if begin is not None and end is not None and begin >= end:
            raise UsageError(f"--from {self.from_text} is not before --to {self.to_text}", "exchange them")
        by_event = self.by is By.EVENT
        customers = frozenset(surrogate_of(settings, key) for key in self.customers) or None
        _note_undeclared(self.types)
        partitions = self.partitions
        if customers is not None:
            counts = asyncio.run(documents.journal_placement(settings)).counts
            partitions = tuple(sorted({journal_partition(key, count) for key in customers for count in counts}))
        selection = Selection(
            what=_what(self.what),
            customers=customers,
            channels=frozenset(self.channels) or None,
            types=frozenset(self.types) or None,
            since_ms=begin if by_event else None,
            until_ms=end if by_event else None,
        )
        bounds = Bounds(
            from_ms=None if by_event else begin,
            to_ms=None if by_event else end,
            from_offset=self.from_offset,
            to_offset=self.to_offset,
        )
        words = {
            "from": self.from_text,
            "to": self.to_text,
            "by": self.by.value,
            "from-offset": self.from_offset,
            "to-offset": self.to_offset,
            "partition": sorted(self.partitions),
            "customer": sorted(customers or ()),
            "channel": sorted(self.channels),
            "type": sorted(self.types),
            "what": sorted(selection.what),
            "to-file": None if self.target.file is None else str(self.target.file.absolute()),
            "to-topic": self.target.topic,
        }
        return Request(selection, bounds, tuple(sorted(set(partitions))) or None, self.target, self.batch, words)


def _what(text: str) -> "frozenset[What]":
    from agents.history.selection import What

    wanted = [word.strip() for word in text.split(",") if word.strip()]
    known = [what.value for what in What]
    unknown = [word for word in wanted if word not in known]
    if unknown or not wanted:
        raise UsageError(f"--what {text!r} names {', '.join(unknown) or 'nothing'}", f"write some of {','.join(known)}")
    return frozenset(What(word) for word in wanted)


def _refuse_own_topic(topic: str | None) -> None:
    from schemas.catalogue import CATALOGUE

    if topic is None:
        return
    own = CATALOGUE.topics.get(topic)
    if own is not None:
        raise UsageError(
            f"{topic} is a live topic of Attune ({', '.join(own.consumers)} read it): a replay there would be taken "
            "for new decisions and new events",
            "create a topic of your own for it, e.g. lab.decisions",
        )
    if topic.startswith("__"):
        raise UsageError(f"{topic} is a topic of Kafka itself", "create a topic of your own for it, e.g. lab.decisions")


def _note_undeclared(types: tuple[str, ...]) -> None:
    from schemas.vocabulary import EventType

    known = [kind.value for kind in EventType]
    for name in types:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            asked = f"; did you mean {near[0]}?" if near else ""
            sys.stderr.write(f"attune: type {name} is not declared, only undeclared events can have it{asked}\n")
