"""First claim: every retained interaction is in the journal and counts once, or is a dead letter; and nothing else is.

A journal record counts once if the fold does not pass over its first copy: per origin partition the fold keeps the
highest offset and skips what is not above it.  Journal records of the same interaction are copies, and harmless.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents.proof.digest import digest
from agents.proof.growth import Growth
from agents.proof.ledger import BY_FIELDS, DEAD, REFUSED, ROUTED, WATERMARK, Ledger
from agents.proof.reading import Spans
from agents.proof.report import Kind, Place, Report
from agents.proof.subject import Places, Reference
from schemas import deadletter, identity, personal, versions
from schemas import headers as names
from schemas.codec import decode_by_fingerprint
from schemas.message import Message

_INTERACTION = b"interaction"
_WATERMARK = b"watermark"
_CONTROL = (b"tick", b"activation", b"split")


@dataclasses.dataclass(slots=True)
class Origins:
    """Takes in the interactions, then their dead letters, then the journal; `finish` gives the verdict.

    `growth` knows over how many partitions of the journal customers are spread; it is given before the journal is read.
    """

    reference: Reference
    places: Places
    growth: Growth
    report: Report
    ledgers: dict[int, Ledger] = dataclasses.field(default_factory=dict)
    _everywhere: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    """Watermarks: partitions of the journal that have it, one bit each."""
    _ahead: dict[tuple[Kind, int], tuple[int, Place]] = dataclasses.field(default_factory=dict)
    """Highest origin beyond the interactions that were read, by its partition, and where it was met."""

    def expect(self, spans: Spans) -> None:
        """Make room for the interactions."""
        for partition, span in spans.items():
            self.ledgers[partition] = Ledger(span.begin, span.end - span.begin)

    def interaction(self, record: Message) -> None:
        """Take in one interaction."""
        self.report.interactions += 1
        marks, content = self._content(record)
        self.ledgers[record.partition].enter(record.offset, marks, digest(content))

    def dead_letter(self, record: Message) -> None:
        """Take in one dead letter of the interactions."""
        found = deadletter.parse(record.headers)
        here = Place(record.topic, record.partition, record.offset)
        if found.topic != self.places.interactions or found.partition < 0 or found.offset < 0:
            self.report.add(Kind.FOREIGN, here, f"its headers name no place in {self.places.interactions}")
            return
        ledger = self._ledger(found.partition, found.offset, Kind.UNKNOWN_DEAD_LETTER, here)
        if ledger is not None:
            ledger.mark(found.offset, DEAD)

    def journal(self, record: Message, marks: dict[int, int]) -> None:
        """Take in one journal record; `marks` are the highest offsets so far of its partition by origin partition."""
        headers = dict(record.headers)
        kind = headers.get(names.KIND)
        here = Place(record.topic, record.partition, record.offset)
        copied = self.growth.take(record, headers)
        if kind in _CONTROL:
            if record.key is not None:
                self.report.add(Kind.FOREIGN, here, "a control record has no key, this one has")
            return
        if kind not in (_INTERACTION, _WATERMARK):
            self.report.add(Kind.FOREIGN, here, f"header {names.KIND} is {kind!r}")
            return
        try:
            origin = names.Origin.parse(headers.get(names.ORIGIN) or b"")
        except ValueError as error:
            self.report.add(Kind.UNKNOWN_ORIGIN, here, str(error))
            return
        if origin.topic != self.places.interactions:
            self.report.add(Kind.UNKNOWN_ORIGIN, here, f"it says it is a copy of a record of {origin.topic}")
            return
        is_copy = origin.offset <= marks.get(origin.partition, -1)
        marks[origin.partition] = max(origin.offset, marks.get(origin.partition, -1))
        if is_copy and not copied:
            self.report.copies += 1
        ledger = self._ledger(origin.partition, origin.offset, Kind.UNKNOWN_ORIGIN, here)
        if ledger is not None:
            self._judge_copy(record, headers, origin, ledger, is_copy=is_copy)

    def finish(self, ends: Mapping[int, int], routed: Mapping[int, int]) -> None:
        """Judge what is missing; `ends` are the interactions' ends by now, `routed` what the router has committed."""
        for (kind, partition), (offset, here) in self._ahead.items():
            if offset >= ends.get(partition, 0):
                self.report.add(kind, here, f"{self.places.interactions}/{partition}/{offset} does not exist")
        whole = (1 << self.growth.partitions) - 1
        for partition, ledger in self.ledgers.items():
            for offset, marks in ledger:
                watermark = self._everywhere.get((partition, offset), 0) if marks & WATERMARK else 0
                if marks & DEAD:
                    self.report.dead += 1
                    self.report.both += bool(marks & ROUTED or watermark)
                elif (watermark & whole == whole) if marks & WATERMARK else marks & ROUTED:
                    self.report.routed += 1
                else:
                    place = Place(self.places.interactions, partition, offset)
                    self.report.add(Kind.NOT_ROUTED, place, _why_missing(offset, watermark, routed.get(partition)))

    def _ledger(self, partition: int, offset: int, kind: Kind, here: Place) -> Ledger | None:
        """Return the ledger that has an origin, or None where it cannot: expired, not read, or no record there."""
        ledger = self.ledgers.get(partition)
        if ledger is not None and offset < ledger.begin:
            self.report.expired_origins += kind is Kind.UNKNOWN_ORIGIN
            return None
        if ledger is None or offset >= ledger.end:
            if offset > self._ahead.get((kind, partition), (-1, here))[0]:
                self._ahead[kind, partition] = (offset, here)
            return None
        if not ledger.marks(offset):
            self.report.add(kind, here, f"{self.places.interactions}/{partition}/{offset} does not exist")
            return None
        return ledger

    def _judge_copy(
        self, record: Message, headers: dict[str, bytes], origin: names.Origin, ledger: Ledger, *, is_copy: bool
    ) -> None:
        here = Place(record.topic, record.partition, record.offset)
        known = ledger.marks(origin.offset)
        if known & REFUSED:
            self.report.add(Kind.OTHER_CONTENT, here, f"{origin} names no customer or cannot be read, yet it is here")
            return
        try:
            found = self._copied_content(record, headers, by_fields=bool(known & BY_FIELDS))
        except ValueError as error:
            self.report.add(Kind.OTHER_CONTENT, here, f"copied from {origin}: {error}")
            return
        if digest(found) != ledger.digest(origin.offset):
            self.report.add(Kind.OTHER_CONTENT, here, f"copied from {origin}")
            return
        if known & WATERMARK:
            seen = self._everywhere.get((origin.partition, origin.offset), 0)
            self._everywhere[origin.partition, origin.offset] = seen | 1 << record.partition
            already = seen >> record.partition & 1
        else:
            homes = self.growth.homes(record)
            if record.partition not in homes:  # where it was before a split the fold refuses it, as a dead letter
                self.report.add(Kind.OTHER_CONTENT, here, f"its customer belongs to partition {homes[0]}")
                return
            already = known & ROUTED
        if is_copy and not already:
            self.report.add(Kind.PASSED_OVER, here, f"{origin} comes behind a later one of its partition")
        ledger.mark(origin.offset, ROUTED)

    def _content(self, record: Message) -> tuple[int, Any]:
        """Return the marks of an interaction, and what its journal record must hold."""
        passed_on = [list(header) for header in names.passed_on(record.headers)]
        if names.first(record.headers, names.TYPE) == names.WATERMARK.encode():
            return self._watermark_content(record, passed_on)
        try:
            subject = names.first(record.headers, names.SUBJECT)
            customer = self.reference.customer_of(record.key or subject)
            name, fingerprint = self.reference.type_of(record.value)
            if name != "Interaction":
                return REFUSED, None
        except ValueError:
            return REFUSED, None
        as_bytes = 0, [_INTERACTION, customer, fingerprint, record.value, passed_on]
        copied = names.first(record.headers, names.PERSONAL) is None and fingerprint in versions.BY_FINGERPRINT
        try:
            fields = self.reference.decode(record.value)
        except ValueError:
            known = copied and record.value is not None and personal.surely_absent(record.value, fingerprint)
            return as_bytes if known else (REFUSED, None)  # the router copies what it need not decode
        block = fields.pop(personal.FIELD)
        if copied and not personal.is_clear(block):
            return as_bytes
        return BY_FIELDS, [_INTERACTION, customer, fields, block is not None, passed_on]

    def _watermark_content(self, record: Message, passed_on: list[Any]) -> tuple[int, Any]:
        try:
            body = self.reference.decode(record.value).get("body")
        except ValueError:
            return REFUSED, None
        return WATERMARK, [_WATERMARK, body, passed_on]

    def _copied_content(self, record: Message, headers: dict[str, bytes], *, by_fields: bool) -> Any:
        """Return the content of a journal record in the form in which its original was noted; ValueError for none."""
        fingerprint = (headers.get(names.SCHEMA) or b"").decode("ascii", "replace")
        passed_on = [list(header) for header in names.passed_on(record.headers)]
        kind = headers[names.KIND]
        if kind == _WATERMARK:
            return [kind, decode_by_fingerprint(fingerprint, record.value, "Control")["body"], passed_on]
        customer = (record.key or b"").decode("ascii", "replace")
        if not identity.is_surrogate(customer):
            raise ValueError("its key is no surrogate")
        if not by_fields:
            return [kind, customer, fingerprint, record.value, passed_on]
        fields = decode_by_fingerprint(fingerprint, record.value, "Interaction")
        block = fields.pop(personal.FIELD)
        if personal.is_clear(block):
            raise ValueError("its personal data stand in the clear")
        return [kind, customer, fields, block is not None, passed_on]


def _why_missing(offset: int, watermark: int, committed: int | None) -> str:
    if committed is None or offset >= committed:
        return f"it is in neither topic; the router has committed {'nothing' if committed is None else committed}"
    if watermark:
        return "this watermark is in some partitions of the journal and not in all"
    return "it is in neither the journal nor the dead-letter topic, though the router has committed past it"
