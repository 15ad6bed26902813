"""One customer at one position of the journal: what was known, what had been decided, and what it all rested on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from aiokafka import TopicPartition

from agents.errors import UsageError
from agents.history.input_hash import COPIED, FOLDED, REFUSED, InputHash
from agents.history.plan import offset_at
from agents.history.reading import bounds, raise_if_cut, runs
from agents.history.refold import RUN_RECORDS, Fold, Step, blocked
from agents.history.selection import WHAT_OF_TOPIC, Output, interaction
from schemas import headers as names
from schemas.errors import ContractError
from schemas.identity import journal_partition
from schemas.message import Message
from streams.partition import PARTITION_KEY, Partition

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many records were folded, and how many there are."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: at an offset, at an append time, or when the partition's clock showed an event time.

    With none of them at the present end. `offset` is inclusive, and so are times: everything that was appended at
    `appended_ms` counts, and everything up to the record that moved the clock beyond `clock_ms`.
    """

    offset: int | None = None
    appended_ms: int | None = None
    clock_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of the customer in the journal; `event` is None where it cannot be decoded."""

    partition: int
    offset: int
    appended_ms: int
    fate: str
    event: dict[str, Any] | None


class _Passed(Exception):
    """The next record is beyond what was asked for; the engine stops before it."""

    retry_later = True


class _ClockPassed(_Passed):
    """It would move the clock beyond the time."""


class _MovedOn(_Passed):
    """It is the cut of a split, behind which the customer is in another partition, where all of this was copied to."""


class Watched:
    """A step that notes what one customer's records came to, and hands out that customer's outputs alone."""

    def __init__(self, step: Step, customer: str, number: int, clock_ms: int | None) -> None:
        self._step = step
        self._number = number
        self._key: Final = customer.encode()
        self._clock_ms = clock_ms
        self.copied: set[int] = set()
        """Offsets of the customer's records that left no trace; whoever reads them clears them."""

    def __call__(self, table: Any, record: Message) -> Sequence[Output]:
        """Fold one record; raises what the step raises, and _Passed."""
        outputs = self._step(table, record)
        if record.key is None:
            self._raise_if_passed(table)
        elif record.key == self._key and self._is_copy(table, record):
            self.copied.add(record.offset)
        return outputs if any(output[1] == self._key for output in outputs) else ()

    def _is_copy(self, table: Any, record: Message) -> bool:
        """Tell whether the record left no trace: a state names the last record that went into it."""
        state = table.get(self._key)
        return state is None or state.offset != record.offset

    def _raise_if_passed(self, table: Any) -> None:
        partition = table.get(PARTITION_KEY)
        if partition is None:
            return
        if self._clock_ms is not None and partition.clock_ms > self._clock_ms:
            raise _ClockPassed
        if partition.split_to and journal_partition(self._key.decode(), partition.split_to) != self._number:
            raise _MovedOn


@dataclass(slots=True)
class Found:
    """What the fold of a partition up to a position says of one customer."""

    customer: str
    tp: TopicPartition
    end: int
    """Offset behind the last record that was looked at."""
    state: Any = None
    """The customer's state, None for a customer that is unknown there."""
    partition: Partition = field(default_factory=Partition)
    appended_ms: int | None = None
    """Append time of the last record that was looked at."""
    refused: int = 0
    """Records of the whole partition that the fold passed over."""
    seen: list[Seen] = field(default_factory=list)
    outputs: list[tuple[names.Position, str, bytes]] = field(default_factory=list)
    """Position, topic and value of everything that the fold gave out for the customer, in order."""
    input: InputHash = field(init=False)

    def __post_init__(self) -> None:
        """Begin the chain."""
        self.input = InputHash(self.tp.topic, self.customer)

    def active(self) -> list[tuple[str, Any]]:
        """Return kind and document of what is active."""
        pairs = (("POLICY", self.partition.policy), ("MODEL", self.partition.model))
        return [(kind, active) for kind, active in pairs if active is not None]


async def fold_to(
    consumer: Any,
    tp: TopicPartition,
    customer: str,
    place: Place,
    step: Step,
    make_fold: Callable[[Step], tuple[Fold, Any]],
    *,
    prepare: Callable[[], Awaitable[None]],
    progress: Progress | None = None,
    run_records: int = RUN_RECORDS,
) -> Found:
    """Fold a partition from its first record to a place, or to where the customer moved on from it.

    `make_fold` makes the engine's fold and its empty table around a step. `prepare` is awaited when the end is known:
    it reads the documents, so that each one that was activated before the end is there. Raises AttuneError where
    records are gone, a document is missing or nothing can be read, UsageError for an offset that is not there, or
    that is behind the customer's removal.
    """
    end = await _end(consumer, tp, place)
    await prepare()
    watched = Watched(step, customer, tp.partition, place.clock_ms)
    fold, table = make_fold(watched)
    found = Found(customer, tp, 0)
    passed = False
    async for position, records in runs(consumer, tp, 0, end, records=run_records):
        if records:
            outcome = fold(records)
            taken = records[: outcome.consumed]
            _note(found, watched, taken, outcome.sends)
            found.refused += outcome.dead_letters
            if outcome.blocked is not None:
                if not isinstance(outcome.blocked, _Passed):
                    raise blocked(tp, records[outcome.consumed].offset, outcome.blocked)
                passed, position = True, records[outcome.consumed].offset  # noqa: PLW2901 - it ends here
                if place.offset is not None and isinstance(outcome.blocked, _MovedOn):
                    raise UsageError(
                        f"{customer} has moved on from {tp.topic}/{tp.partition} at offset {position:,}",
                        "name an earlier offset, or a later one of the partition that the customer is in since",
                    )
        found.end = position
        if progress is not None:
            progress(position, end)
        if passed:
            break
    found.state = table.get(customer.encode())
    found.partition = table.get(PARTITION_KEY) or Partition()
    return found


async def _end(consumer: Any, tp: TopicPartition, place: Place) -> int:
    first, last = await bounds(consumer, tp)
    raise_if_cut(tp, first)
    if place.offset is not None:
        if not first <= place.offset < last:
            held = f"offsets {first:,} to {last - 1:,}" if last > first else "nothing yet"
            raise UsageError(f"{tp.topic}/{tp.partition} has no offset {place.offset:,}: it holds {held}", "choose one")
        return place.offset + 1
    if place.appended_ms is not None:
        return await offset_at(consumer, tp, place.appended_ms + 1, last)
    return last


def _note(found: Found, watched: Watched, records: Sequence[Message], sends: Any) -> None:
    key = found.customer.encode()
    outputs: list[tuple[names.Position, str, bytes]] = []
    refused: set[int] = set()
    for (topic, _), entries in sends.items():
        for output_key, value, headers in entries:
            position = names.Position.parse(headers[-1][1])
            if topic not in WHAT_OF_TOPIC:
                refused.add(position.offset)
            elif output_key == key:
                outputs.append((position, topic, value))
    found.outputs += sorted(outputs, key=lambda output: output[0])
    for record in records:
        if record.key is not None and record.key != key:
            continue
        fate = REFUSED if record.offset in refused else COPIED if record.offset in watched.copied else FOLDED
        found.input.add(record, fate)
        if record.key is not None:
            found.seen.append(Seen(record.partition, record.offset, record.timestamp, fate, _event(record)))
    if records:
        found.appended_ms = records[-1].timestamp
    watched.copied.clear()


def _event(record: Message) -> dict[str, Any] | None:
    try:
        return interaction(record)
    except ContractError:
        return None
