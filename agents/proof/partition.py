"""One journal partition on trial: folded again, its outputs compared as it goes, its states at the fence."""

import dataclasses

from agents.proof import states
from agents.proof.outputs import PartitionOutputs
from agents.proof.reading import Span
from agents.proof.report import Kind, Place, Report
from agents.proof.sequential import Sequential, Waits
from agents.proof.states import States
from agents.proof.subject import Places, Reference
from schemas.message import Message


@dataclasses.dataclass(slots=True)
class PartitionTrial:
    """Takes the records of the partition in order, then `finish`, then `judge_states` if some are `wrong`."""

    places: Places
    reference: Reference
    report: Report
    number: int
    span: Span
    held: States
    found: PartitionOutputs
    wrong: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Keys whose state at the fence is not the fold's, with their offsets in the changelog."""
    _fold: Sequential = dataclasses.field(init=False)
    _until: int = dataclasses.field(init=False)
    _stopped: int | None = None
    _compared: bool = False
    _expected: dict[bytes, bytes] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be folded from its first record."""
        self._fold = Sequential(self.reference)
        self._until = max(self.held.fence, self.found.highest)
        if self.held.fence >= self.span.end:
            words = f"its fence is {self.held.fence}, but the journal ends at {self.span.end}"
            self.report.add(Kind.FENCE, Place(self.places.changelog, self.number), words)
        if self.span.begin:
            self._stopped = 0
            words = f"its first {self.span.begin} records are gone: restore the journal from a copy"
            self.report.add(Kind.NOT_FOLDABLE, Place(self.places.journal, self.number, self.span.begin), words)

    def take(self, record: Message) -> None:
        """Fold the next record, as far as states or outputs can be compared with it."""
        report, fence = self.report, self.held.fence
        report.journal += 1
        if record.offset > fence:
            report.unfolded += 1
            self._compare_states()
        if self._stopped is not None or record.offset > self._until:
            return
        try:
            given = self._fold.fold(record)
        except Waits as waiting:
            self._stopped = record.offset
            if record.offset <= fence:
                self.report.add(Kind.NOT_FOLDABLE, Place(record.topic, record.partition, record.offset), str(waiting))
            return
        report.folded += record.offset <= fence
        self.found.judge(record.offset, given, fence)

    def finish(self) -> None:
        """Compare what is left."""
        self._compare_states()
        self.report.refused += self._fold.refused
        self.found.finish(self.span.end, stopped_at=self._stopped)

    def judge_states(self, stored: dict[bytes, bytes]) -> None:
        """Report the wrong keys; `stored` are their encoded states in the changelog."""
        place = Place(self.places.changelog, self.number)
        states.judge(self.reference, self.report, place, self.wrong, self._expected, stored)

    def _compare_states(self) -> None:
        """Compare once, when the fold has reached the fence."""
        if self._compared or self._stopped is not None:
            return
        self._compared = True
        folded = self._fold.states
        self.report.states += len(folded)
        self.wrong = self.held.compare(folded)
        self._expected = {key: folded[key] for key in self.wrong if key in folded}
