"""One journal partition folded again: what the fold gave out, once more, for the records that are chosen.

The fold is the engine's, over the same pure core, so that dead letters, limits and position headers are those of live
work. What a replay does not do: no changelog (a state is encoded once a run of thousands of records, for the fold's
own rollback), no place and no position header for outputs that nobody wants.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from aiokafka import TopicPartition

from agents.errors import AttuneError
from agents.history.reading import runs
from agents.history.selection import WHAT_OF_TOPIC, Chooser, Output, What
from schemas import headers as names
from schemas.message import Message

RUN_RECORDS: Final = 20_000
"""Records that are folded at once: so many customers are then met twice that encoding them costs next to nothing."""

_AFTER_TROUBLE: Final = 1_000
"""Records of the next run when one could not be folded: its whole run was folded again, one by one."""

_SMALL: Final = 100_000
"""Bytes of an output's value that the engine surely allows, headers and all."""

ITSELF: Final = -1
"""Index of an interaction among what is given out of its record: it comes before its outputs, which count from 0."""

Step: TypeAlias = Callable[[Any, Any], Sequence[Output]]
"""Table and record in, outputs out."""


class Outcome(Protocol):
    """What folding a run of records did."""

    @property
    def consumed(self) -> int:
        """How many of them are done with, those that raised included."""

    @property
    def dead_letters(self) -> int:
        """How many raised and were passed over."""

    @property
    def sends(self) -> Any:
        """Lists of (key, value, headers) by (topic, partition)."""

    @property
    def blocked(self) -> BaseException | None:
        """Why the next one could not be folded yet."""


Fold: TypeAlias = Callable[[Sequence[Any]], Outcome]
"""The engine's fold over a table."""


class Emitted(NamedTuple):
    """One record that is given out; key, value and headers are those that stand, or stood, in its topic."""

    what: What
    topic: str
    partition: int
    offset: int
    emission: int
    """Position of the journal record that it comes from, and its index among that record's outputs (or ITSELF)."""
    timestamp: int
    """Append time of that journal record, milliseconds."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Muted:
    """A step that hands out only the outputs of records that are wanted; states are those of the whole fold.

    Outputs with a large value are handed out all the same: the engine may refuse the record for them, which changes
    the state, and only the engine knows its limit.
    """

    def __init__(self, step: Step, wanted: Callable[[Message, Sequence[Output]], bool]) -> None:
        self._step = step
        self._wanted = wanted
        self.answered: dict[int, Message] = {}
        """Records whose outputs were handed out, by offset; whoever reads them clears them."""

    def __call__(self, table: Any, record: Message) -> Sequence[Output]:
        """Fold one record."""
        outputs = self._step(table, record)
        if not outputs:
            return outputs
        if self._wanted(record, outputs) or any(len(output[2] or b"") >= _SMALL for output in outputs):
            self.answered[record.offset] = record
            return outputs
        return ()


@dataclass(slots=True)
class Refold:
    """Folds a partition and yields what is chosen, in the order of the journal.

    `make_fold` makes the engine's fold around a step, on an empty table, every output topic with one partition.
    """

    tp: TopicPartition
    step: Step
    make_fold: Callable[[Step], Fold]
    chooser: Chooser
    interactions: bool
    run_records: int = RUN_RECORDS
    customers: frozenset[bytes] = frozenset()
    """Keys to look out for."""
    refused: int = field(default=0, init=False)
    """Records so far that the fold passed over, as live: they are dead letters there."""
    met: set[bytes] = field(default_factory=set, init=False)
    """Which of `customers` had a record so far."""

    async def __call__(self, consumer: Any, end: int) -> AsyncIterator[tuple[int, list[Emitted]]]:
        """Yield (next offset, what is chosen) from offset 0 up to `end`; AttuneError where the fold cannot go on."""
        step = Muted(self.step, self.chooser.outputs)
        fold = self.make_fold(step)
        size = self.run_records
        async for position, records in runs(consumer, self.tp, 0, end, records=self.run_records):
            if self.customers:
                self.met.update(record.key for record in records if record.key in self.customers)
            start = 0
            while start < len(records):
                run = records[start : start + size]
                step.answered.clear()
                outcome = fold(run)
                if outcome.blocked is not None:
                    raise blocked(self.tp, run[outcome.consumed].offset, outcome.blocked)
                self.refused += outcome.dead_letters
                size = _AFTER_TROUBLE if outcome.dead_letters else min(size * 2, self.run_records)
                start += len(run)
                yield (
                    position if start == len(records) else run[-1].offset + 1,
                    self._chosen(run, outcome, step.answered),
                )
            if not records:
                yield position, []

    def _chosen(self, run: Sequence[Message], outcome: Outcome, answered: dict[int, Message]) -> list[Emitted]:
        found = list(itself(run, self.chooser)) if self.interactions else []
        for (topic, _), entries in outcome.sends.items():
            what = WHAT_OF_TOPIC.get(topic)
            if what is None:
                continue
            for key, value, headers in entries:
                place = names.Position.parse(headers[-1][1])
                record = answered[place.offset]
                if self.chooser.output(record, (topic, key, value, headers)):
                    found.append(Emitted(what, topic, *place, record.timestamp, key, value, headers))
        found.sort(key=_PLACE)
        return found


async def as_they_stand(
    consumer: Any, tp: TopicPartition, begin: int, end: int, chooser: Chooser
) -> AsyncIterator[tuple[int, list[Emitted]]]:
    """Yield (next offset, chosen interactions) of a range; nothing is folded, so nothing before it is read.

    Copies by the router and interactions that the fold refused are among them, as they are in the journal.
    """
    async for position, records in runs(consumer, tp, begin, end, records=RUN_RECORDS):
        yield position, list(itself(records, chooser))


def itself(run: Sequence[Message], chooser: Chooser) -> list[Emitted]:
    """Return the interactions of a run that are chosen."""
    return [
        Emitted(
            What.INTERACTIONS,
            record.topic,
            record.partition,
            record.offset,
            ITSELF,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
        )
        for record in run
        if chooser.interaction(record)
    ]


def blocked(tp: TopicPartition, offset: int, reason: BaseException) -> AttuneError:
    """Return the error that says at which record the fold cannot go on, and why."""
    return AttuneError(
        f"{tp.topic}/{tp.partition} cannot be folded beyond offset {offset - 1:,}: {reason}",
        "do what it says there; the live fold waits for the same",
    )


_PLACE: Final = attrgetter("offset", "emission")
