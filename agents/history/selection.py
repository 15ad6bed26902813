"""Which records of the journal a replay is about: the interactions themselves, and what the fold made of them.

One rule for everything: a record of the journal is chosen or not, and with it what came out of it. `--channel` and
`--type` are those of the interaction that was folded; what a control record caused has neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from schemas import headers as names
from schemas import topics
from schemas.codec import decode_by_fingerprint
from schemas.errors import ContractError
from schemas.message import Message
from schemas.vocabulary import JournalKind
from streams.growth import is_copied

_INTERACTION: Final = JournalKind.INTERACTION.value.encode()

Output: TypeAlias = Sequence[Any]
"""What the core sends: topic, key, value, headers."""


class What(StrEnum):
    """What is given out."""

    ACTIONS = "actions"
    SUPPRESSIONS = "suppressions"
    INTERACTIONS = "interactions"


WHAT_OF_TOPIC: Final[Mapping[str, What]] = {
    topics.NEXT_BEST_ACTIONS: What.ACTIONS,
    topics.SUPPRESSIONS: What.SUPPRESSIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is wanted beside a range of offsets; None leaves a condition out.

    `since_ms` (inclusive) and `until_ms` (exclusive) are event times: `occurred_at` of an interaction, `ce_time` of
    what a control record caused. Customers are surrogates.
    """

    what: frozenset[What] = frozenset({What.ACTIONS, What.SUPPRESSIONS})
    customers: frozenset[str] | None = None
    channels: frozenset[str] | None = None
    types: frozenset[str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def folds(self) -> bool:
        """Whether anything is wanted that only a fold gives; interactions alone are read as they stand."""
        return self.what != {What.INTERACTIONS}

    @property
    def selects(self) -> bool:
        """Whether not everything in a range of offsets is chosen."""
        return self.by_event_time or bool(self.customers or self.channels or self.types)

    @property
    def by_event_time(self) -> bool:
        """Whether event times bound it."""
        return self.since_ms is not None or self.until_ms is not None


class Chooser:
    """Tells whether a record and its outputs are chosen, for one range begin <= offset < end of one partition."""

    def __init__(self, selection: Selection, begin: int, end: int) -> None:
        self._begin = begin
        self._end = end
        self._keys = None if selection.customers is None else {key.encode() for key in selection.customers}
        self._by_content = bool(selection.channels or selection.types)
        self._looks_inside = self._by_content or selection.by_event_time
        self._selection = selection
        self._topics = {topic for topic, what in WHAT_OF_TOPIC.items() if what in selection.what}

    def interaction(self, record: Message) -> bool:
        """Return whether a record is an interaction that is chosen; a copy is not, its first place is."""
        if not self._begin <= record.offset < self._end or kind_of(record) != _INTERACTION:
            return False
        if (self._keys is not None and record.key not in self._keys) or is_copied(record):
            return False
        return not self._looks_inside or self._inside(record)

    def outputs(self, record: Message, outputs: Sequence[Output]) -> bool:
        """Return whether any output of a record is chosen: what is not needs no header and no place."""
        return self._begin <= record.offset < self._end and any(self.output(record, output) for output in outputs)

    def output(self, record: Message, output: Output) -> bool:
        """Return whether one output of a record in the range is chosen."""
        topic, key = output[0], output[1]
        if topic not in self._topics or (self._keys is not None and key not in self._keys):
            return False
        if not self._looks_inside:
            return True
        if kind_of(record) == _INTERACTION:
            return self._inside(record)
        return not self._by_content and self._in_time(_ce_time_text(output[3]))

    def _inside(self, record: Message) -> bool:
        selection = self._selection
        try:
            event = interaction(record)
        except ContractError:
            return False
        if selection.channels is not None and event["channel"] not in selection.channels:
            return False
        if selection.types is not None and event["type"] not in selection.types:
            return False
        at = event["occurred_at"]
        return (selection.since_ms is None or at >= selection.since_ms) and (
            selection.until_ms is None or at < selection.until_ms
        )

    def _in_time(self, text: str) -> bool:
        """Compare RFC 3339 texts: ours are all in UTC with milliseconds, so that their order is that of time."""
        since, until = self._selection.since_ms, self._selection.until_ms
        return (since is None or text >= names.rfc3339(since)) and (until is None or text < names.rfc3339(until))


def interaction(record: Message) -> dict[str, Any]:
    """Decode an interaction of the journal; ContractError where its value is none."""
    mark = names.first(record.headers, names.SCHEMA) or b""
    return decode_by_fingerprint(mark.decode("ascii", "replace"), record.value, "Interaction")


def kind_of(record: Message) -> bytes | None:
    """Return the header that says what a journal record is, the last one as in the fold."""
    return dict(record.headers).get(names.KIND)


def _ce_time_text(headers: names.Foreign) -> str:
    return (names.first(headers, names.TIME) or b"").decode("ascii", "replace")
