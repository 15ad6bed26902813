"""What a run of records says, before anything is written: of each customer the newest state, or the outputs."""

import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import Final

from agents.view import ACTIONS, SUPPRESSIONS, EntriesWrite, Entry, output_position
from agents.views.documents import action_document, suppression_document
from schemas import headers as names
from schemas import topics
from schemas.codec import EMBEDDED
from schemas.errors import ContractError
from schemas.message import Message
from schemas.vocabulary import DecisionKind, SuppressionStatus
from streams.growth import home
from streams.partition import PARTITION_KEY, Partition

logger = logging.getLogger(__name__)

FenceOf = Callable[[Message], int | None]
"""The journal offset up to which the batch of a changelog record had folded."""

OWN_KEYS: Final = b"\x00"
"""Keys of the changelog that are no customer's begin so."""

_PROPOSED: Final = DecisionKind.PROPOSED.value
_RECALLED: Final = DecisionKind.RECALLED.value
_STARTED: Final = SuppressionStatus.STARTED.value


@dataclasses.dataclass(slots=True)
class StateRun:
    """Records of one partition of the changelog, in their order.

    `states` has of each customer the newest fence and the state there; `ended` is the newest fence whose batch is
    here to its end.
    """

    fence_of: FenceOf
    watermark: bytes
    states: dict[bytes, tuple[int, bytes | None]] = dataclasses.field(default_factory=dict)
    own: tuple[int, bytes] | None = None
    ended: int = -1
    next: int = 0
    appended_ms: int = 0
    records: int = 0
    refused: int = 0
    """Records that no fold wrote."""

    def take(self, records: Iterable[Message]) -> None:
        """Take in more records; what no fold wrote is logged and passed over: folds refuse it until a rebuild."""
        states = self.states
        for record in records:
            self.next, self.appended_ms = record.offset + 1, record.timestamp
            self.records += 1
            fence, key, value = self.fence_of(record), record.key, record.value
            if fence is None or key is None:
                self.refused += 1
                logger.warning(
                    "%s/%d/%d is no state of a fold and is not shown", record.topic, record.partition, record.offset
                )
                continue
            if not key.startswith(OWN_KEYS):
                known = states.get(key)
                if known is None or fence >= known[0]:
                    states[key] = fence, value
            elif key == self.watermark:
                self.ended = max(self.ended, fence)
            elif key == PARTITION_KEY and value is not None and (self.own is None or fence >= self.own[0]):
                self.own = fence, value

    def shown(self, partition: int, own: Partition | None) -> dict[bytes, tuple[int, bytes | None]]:
        """Return the states that the views may show, by what the journal partition says of itself.

        While a new partition is filled with copies, the old one has the newer states. Once customers have moved away,
        their states are deleted here, and not in the views.
        """
        if own is None or not own.split_to:
            return self.states
        if own.copying:
            return {}
        return {
            key: state
            for key, state in self.states.items()
            if state[1] is not None or home(key, own.split_to, partition) == partition
        }


@dataclasses.dataclass(slots=True)
class OutputRun:
    """Records of one partition of the decisions or of the suppressions, in their order."""

    entries: dict[str, list[Entry]] = dataclasses.field(default_factory=dict)
    next: int = 0
    appended_ms: int = 0
    records: int = 0
    refused: int = 0
    """Records that no fold wrote, or that cannot be read."""

    def take(self, records: Iterable[Message]) -> None:
        """Take in more records; what is no output of a fold is logged and passed over."""
        for record in records:
            self.next, self.appended_ms = record.offset + 1, record.timestamp
            self.records += 1
            try:
                found = _entry(record)
            except (ContractError, ValueError) as error:
                self.refused += 1
                logger.warning(
                    "%s/%d/%d is no output of a fold and is not shown: %s",
                    record.topic,
                    record.partition,
                    record.offset,
                    error,
                )
                continue
            if found is not None:
                customer, entry = found
                self.entries.setdefault(customer, []).append(entry)

    def writes(self, topic: str) -> list[EntriesWrite]:
        """Return what is to be written, one write a customer."""
        part = ACTIONS if topic == topics.NEXT_BEST_ACTIONS else SUPPRESSIONS
        return [EntriesWrite(part, customer, tuple(entries)) for customer, entries in self.entries.items()]


def _entry(record: Message) -> tuple[str, Entry] | None:
    """Return whose view an output changes, and how; None for a decision for no action."""
    value = names.first(record.headers, names.POSITION)
    if value is None:
        raise ValueError(f"it has no header {names.POSITION}")
    found = names.Position.parse(value)
    position = output_position(*found)
    if record.topic == topics.SUPPRESSIONS:
        suppression = EMBEDDED.decode(record.value, "Suppression")
        started = suppression["status"] == _STARTED
        document = suppression_document(suppression) if started else None
        return suppression["customer"], Entry(position, suppression["suppression_id"], document)
    decision = EMBEDDED.decode(record.value, "NextBestAction")
    if decision["kind"] == _PROPOSED:
        now = names.rfc3339(decision["decided_at"])
        return decision["customer"], Entry(position, decision["decision_id"], action_document(decision), now)
    if decision["kind"] == _RECALLED and decision["recalls"]:
        return decision["customer"], Entry(position, decision["recalls"], None)
    return None
