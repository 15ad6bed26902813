"""Where customers are in a journal that grows, and whether its copies are exactly what they must be.

A new partition begins with copies of what its customers have in the old one, control records included, in order, and
nothing else; a Split ends them there, and in the old partition for those who have moved.
"""

import dataclasses
import itertools
from array import array
from collections.abc import Sequence

from agents.proof.digest import digest
from agents.proof.report import Kind, Place, Report
from schemas import headers as names
from schemas import identity
from schemas.codec import decode_by_fingerprint
from schemas.message import Message

_SPLIT = b"split"
_INTERACTION = b"interaction"


@dataclasses.dataclass(slots=True)
class _Copies:
    """What one new partition must begin with: after each copy the digest of all up to it."""

    source: int
    count: int
    """How many partitions there are with it."""
    chain: "array[int]" = dataclasses.field(default_factory=lambda: array("Q"))
    cut: int | None = None
    taken: int = 0
    place: int = -1
    """Offset in the source of the last copy that was met."""


class Growth:
    """Takes the records of the journal, partition after partition in their order."""

    def __init__(self, counts: Sequence[int], existing: int, report: Report) -> None:
        """Take the numbers of partitions over which customers were spread, and how many the topic has."""
        steps = [*counts, existing] if existing > counts[-1] and existing % counts[-1] == 0 else list(counts)
        self.partitions = counts[-1]
        self._report = report
        self._steps = steps
        self._current: dict[int, tuple[int, int]] = {}
        """Of each partition the number by which its customers are placed at the record at hand, and the one before."""
        self._copies = {
            number: _Copies(number % before, after)
            for before, after in itertools.pairwise(steps)
            for number in range(before, after)
        }

    def take(self, record: Message, headers: dict[str, bytes]) -> bool:
        """Take in a record; returns whether it is a copy within the journal."""
        number = record.partition
        copied = headers.get(names.COPIED)
        split_to, cut = self._split(record, headers) if copied is None else (0, -1)
        for target, copies in self._copies.items():
            if copies.source == number and copies.cut is None:
                if copied is None and split_to == copies.count:
                    copies.cut = record.offset
                elif self._belongs(record, headers, target, copies.count):
                    copies.chain.append(_link(copies.chain, record, record.offset))
        if copied is not None:
            self._judge(record, copied)
        elif split_to:
            self._end(record, split_to, cut)
        return copied is not None

    def homes(self, record: Message) -> tuple[int, int]:
        """Return where a record's customer belongs, and where it belonged before a split; else ValueError."""
        now, before = self._current.get(record.partition) or (self._first(record.partition),) * 2
        customer = (record.key or b"").decode()
        return identity.journal_partition(customer, now), identity.journal_partition(customer, before)

    def _first(self, number: int) -> int:
        return next((count for count in self._steps if number < count), self._steps[-1])

    def _split(self, record: Message, headers: dict[str, bytes]) -> tuple[int, int]:
        if headers.get(names.KIND) != _SPLIT:
            return 0, -1
        fingerprint = (headers.get(names.SCHEMA) or b"").decode("ascii", "replace")
        try:
            body = decode_by_fingerprint(fingerprint, record.value, "Control")["body"]
            return body["split_to"], body["cut"]
        except (ValueError, KeyError) as error:
            here = Place(record.topic, record.partition, record.offset)
            self._report.add(Kind.FOREIGN, here, f"it is no Split that can be read: {error}")
            return 0, -1

    def _belongs(self, record: Message, headers: dict[str, bytes], target: int, count: int) -> bool:
        if headers.get(names.KIND) != _INTERACTION:
            return True
        try:
            return identity.journal_partition((record.key or b"").decode(), count) == target
        except ValueError:
            return False

    def _judge(self, record: Message, copied: bytes) -> None:
        here = Place(record.topic, record.partition, record.offset)
        copies = self._copies.get(record.partition)
        try:
            source, offset = names.Copied.parse(copied).source
        except ValueError as error:
            self._report.add(Kind.OTHER_COPY, here, str(error))
            return
        if copies is None or source != copies.source:
            self._report.add(Kind.OTHER_COPY, here, f"nothing is copied here from partition {source}")
            return
        if offset <= copies.place:
            self._report.copies += 1  # a batch of copies that landed twice: the fold passes over it
            return
        copies.place = offset
        self._report.copied += 1
        index, copies.taken = copies.taken, copies.taken + 1
        if index >= len(copies.chain) or copies.chain[index] != _link(copies.chain[:index][-1:], record, offset):
            self._report.add(Kind.OTHER_COPY, here, f"it is not what partition {source} has next for it")

    def _end(self, record: Message, split_to: int, cut: int) -> None:
        before = (self._current.get(record.partition) or (self._first(record.partition),))[0]
        self._current[record.partition] = split_to, before
        copies = self._copies.get(record.partition)
        if cut < 0 or copies is None:
            return
        here = Place(record.topic, record.partition, record.offset)
        if cut != copies.cut:
            self._report.add(Kind.OTHER_COPY, here, f"it says that {copies.source} was cut at {cut}, not {copies.cut}")
        if copies.taken != len(copies.chain):
            missing = len(copies.chain) - copies.taken
            self._report.add(Kind.OTHER_COPY, here, f"{missing} copies from partition {copies.source} are missing")


def _link(chain: Sequence[int], record: Message, offset: int) -> int:
    kept = [[name, value] for name, value in record.headers if name != names.COPIED]
    return digest([chain[-1] if chain else 0, offset, record.key, record.value, kept])
