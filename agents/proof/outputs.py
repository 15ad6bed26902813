"""Third claim: the output topics hold every output of the sequential fold up to the fence, and no other.

An output is known by its position in the journal (partition, offset, index among that record's outputs).  The same
output may stand there twice, since a worker that starts again sends again; with two contents it may not.
"""

import dataclasses
from array import array
from typing import Any, Final, NamedTuple

from agents.proof.digest import digest
from agents.proof.reading import Spans
from agents.proof.report import Kind, Place, Report
from agents.proof.subject import Output, Reference
from schemas import deadletter
from schemas import headers as names
from schemas.codec import decode
from schemas.errors import ContractError
from schemas.message import Message

_UNJUDGED: Final = frozenset({names.POSITION, deadletter.EXCEPTION_STACKTRACE})
"""The position is what the output is known by; a stack trace names the lines that led to the step."""

_INDEX_BITS: Final = 20


class Mismatch(NamedTuple):
    """An output with another content: where it is, and what the fold gives."""

    place: Place
    expected: Any


class _Found(NamedTuple):
    digest: int
    topic: int
    offset: int


@dataclasses.dataclass(slots=True)
class _Column:
    """Outputs of one journal partition, twenty-six bytes each."""

    positions: "array[int]" = dataclasses.field(default_factory=lambda: array("Q"))
    digests: "array[int]" = dataclasses.field(default_factory=lambda: array("Q"))
    topics: "array[int]" = dataclasses.field(default_factory=lambda: array("H"))
    offsets: "array[int]" = dataclasses.field(default_factory=lambda: array("Q"))


class Outputs:
    """Takes in all outputs, then judges partition after partition of the journal."""

    def __init__(self, reference: Reference, report: Report) -> None:
        self._reference = reference
        self._report = report
        self._columns: dict[int, _Column] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._spans: dict[str, Spans] = {}
        self._lowest: dict[tuple[str, int, int], int] = {}
        self.mismatches: list[Mismatch] = []

    def expect(self, topic: str, spans: Spans) -> None:
        """Note what is retained of an output topic."""
        self._spans[topic] = spans

    def take(self, record: Message) -> None:
        """Take in one output."""
        here = Place(record.topic, record.partition, record.offset)
        value = names.first(record.headers, names.POSITION)
        try:
            position = names.Position.parse(value or b"")
        except ValueError as error:
            self._report.add(Kind.FOREIGN, here, str(error))
            return
        column = self._columns.setdefault(position.partition, _Column())
        column.positions.append(position.offset << _INDEX_BITS | position.emission)
        column.digests.append(digest(_content(record.topic, record.partition, record)))
        column.topics.append(self._numbers.setdefault((record.topic, record.partition), len(self._numbers)))
        column.offsets.append(record.offset)
        origin = (record.topic, record.partition, position.partition)
        self._lowest[origin] = min(position.offset, self._lowest.get(origin, position.offset))

    def partition(self, number: int) -> "PartitionOutputs":
        """Return the outputs of one journal partition, to be judged once."""
        found: dict[int, _Found] = {}
        column = self._columns.pop(number, None) or _Column()
        rows = zip(column.positions, column.digests, column.topics, column.offsets, strict=True)
        places = list(self._numbers)
        for position, content, topic, offset in rows:
            first = found.setdefault(position, _Found(content, topic, offset))
            if first.offset == offset and first.topic == topic:
                continue
            if first.digest == content:
                self._report.repeated_outputs += 1
            else:
                at = Place(*places[first.topic], first.offset)
                words = f"{spell(number, position)} is also at {at}, with another content"
                self._report.add(Kind.OTHER_OUTPUT, Place(*places[topic], offset), words)
        return PartitionOutputs(self, number, found, places)

    def expired(self, number: int, offset: int, topic: str, key: bytes | None) -> bool:
        """Tell whether an output is no longer retained: its topic's first records are gone, and it lies before."""
        spans = self._spans[topic]
        target = self._reference.partition_of(topic, key, len(spans))
        if not spans[target].begin:
            return False
        lowest = self._lowest.get((topic, target, number))
        return lowest is None or offset < lowest

    def content(self, output: Output) -> Any:
        """Return the content of an output of the fold."""
        topic, key, value, headers = output[:4]
        count = len(self._spans.get(topic, ()))
        target = self._reference.partition_of(topic, key, count) if count else -1
        return _plain(topic, target, key, value, headers)

    @property
    def report(self) -> Report:
        """Where findings go."""
        return self._report


@dataclasses.dataclass(slots=True)
class PartitionOutputs:
    """Outputs of one journal partition that the fold has not given yet."""

    _all: Outputs
    _number: int
    _found: dict[int, _Found]
    _places: list[tuple[str, int]]

    @property
    def highest(self) -> int:
        """Highest journal offset of an output, -1 for none."""
        return max(self._found, default=-1) >> _INDEX_BITS if self._found else -1

    def judge(self, offset: int, outputs: Any, fence: int) -> None:
        """Compare what the fold of one journal record gives with what is there."""
        report = self._all.report
        for index, output in enumerate(outputs):
            position = offset << _INDEX_BITS | index
            found = self._found.pop(position, None)
            if found is None:
                if offset > fence:
                    continue
                if self._all.expired(self._number, offset, output[0], output[1]):
                    report.expired_outputs += 1
                else:
                    place = Place(output[0], self._all_partition(output))
                    report.add(Kind.LOST_OUTPUT, place, f"{spell(self._number, position)} is not there")
                continue
            content = self._all.content(output)
            if digest(content) != found.digest:
                place = self._place(found)
                if report.wants(Kind.OTHER_OUTPUT):
                    self._all.mismatches.append(Mismatch(place, content))
                report.add(Kind.OTHER_OUTPUT, place, spell(self._number, position))
            elif offset > fence:
                report.early_outputs += 1
            else:
                report.outputs += 1

    def finish(self, end: int, *, stopped_at: int | None) -> None:
        """Report what no fold gave; `end` is the journal's end, `stopped_at` where the fold had to stop."""
        report = self._all.report
        for position, found in self._found.items():
            offset = position >> _INDEX_BITS
            if stopped_at is not None and stopped_at <= offset < end:
                continue
            why = "which the journal does not have" if offset >= end else "which no fold gives"
            report.add(Kind.EXTRA_OUTPUT, self._place(found), f"{spell(self._number, position)}, {why}")

    def _all_partition(self, output: Output) -> int:
        return int(self._all.content(output)[1])

    def _place(self, found: _Found) -> Place:
        return Place(*self._places[found.topic], found.offset)


def spell(partition: int, position: int) -> str:
    """Return a position in words."""
    return f"output {position & (1 << _INDEX_BITS) - 1} of journal record {partition}/{position >> _INDEX_BITS}"


def _content(topic: str, partition: int, record: Message) -> Any:
    return _plain(topic, partition, record.key, record.value, record.headers)


def _plain(topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> Any:
    return [topic, partition, key, value, [[name, content] for name, content in headers if name not in _UNJUDGED]]


def describe(expected: Any, record: Message) -> str:
    """Return in words in what a record differs from the content that the fold gives."""
    found = _content(record.topic, record.partition, record)
    parts = ("topic", "partition", "key")
    words = [
        f"{part} is {_short(have)}, the fold gives {_short(want)}"
        for part, have, want in zip(parts, found, expected, strict=False)
        if have != want
    ]
    if found[3] != expected[3]:
        words += _value_words(found[3], expected[3])
    have_headers, want_headers = dict(found[4]), dict(expected[4])
    words += [
        f"header {name} is {_short(have_headers.get(name))}, the fold gives {_short(want_headers.get(name))}"
        for name in {**want_headers, **have_headers}
        if have_headers.get(name) != want_headers.get(name)
    ]
    return "; ".join(words) or "its headers stand in another order"


def _value_words(found: bytes | None, expected: bytes | None) -> list[str]:
    """Say which fields of an Avro value differ; of other values that they do."""
    try:
        have, want = decode(found), decode(expected)
    except ContractError:
        return [f"value is {_short(found)}, the fold gives {_short(expected)}"]
    differing = [field for field in {**want, **have} if have.get(field) != want.get(field)]
    return [f"{f} is {_short(have.get(f))}, the fold gives {_short(want.get(f))}" for f in differing] or [
        "its value has the same fields in other bytes"
    ]


def _short(value: Any) -> str:
    text = f"{len(value)} bytes {value[:24].hex()}..." if isinstance(value, bytes) and len(value) > 64 else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
