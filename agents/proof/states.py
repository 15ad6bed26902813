"""Second claim: the changelog holds, up to its fence, exactly the states of the sequential fold."""

import dataclasses
from array import array
from typing import Any

from agents.proof.digest import digest
from agents.proof.report import KEPT, Kind, Place, Report
from agents.proof.subject import Changelog, Reference
from schemas.message import Message


@dataclasses.dataclass(slots=True)
class States:
    """What the changelog of one partition says: the newest fence, and a digest of each state."""

    reader: Changelog
    _numbers: dict[bytes, int] = dataclasses.field(default_factory=dict)
    _digests: "array[int]" = dataclasses.field(default_factory=lambda: array("Q"))
    _offsets: "array[int]" = dataclasses.field(default_factory=lambda: array("q"))
    _unreadable: list[tuple[Place, str]] = dataclasses.field(default_factory=list)

    @property
    def fence(self) -> int:
        """Last journal offset whose effect is durable, -1 for none."""
        return self.reader.position

    def take(self, record: Message) -> None:
        """Take in the next record of the changelog."""
        changes = self.reader.scan([record])
        if self.reader.unreadable_at == record.offset:
            self._unreadable.append((Place(record.topic, record.partition, record.offset), self.reader.unreadable))
        for key, value in changes:
            number = self._numbers.get(key)
            if number is None:
                number = self._numbers[key] = len(self._digests)
                self._digests.append(0)
                self._offsets.append(0)
            self._digests[number] = 0 if value is None else digest(value)
            self._offsets[number] = record.offset if value is not None else -1

    def finish(self, report: Report) -> None:
        """Report what cannot be read and has not been left behind by a rebuild."""
        for place, words in self._unreadable:
            if (place.offset or 0) >= self.reader.whole_from:
                report.add(Kind.UNREADABLE, place, words)

    def compare(self, expected: dict[bytes, bytes]) -> dict[bytes, int]:
        """Return the keys that are not as expected, with the changelog offset of each, -1 for none."""
        wrong: dict[bytes, int] = {}
        for key, value in expected.items():
            number = self._numbers.get(key)
            offset = -1 if number is None else self._offsets[number]
            if number is None or offset < 0 or self._digests[number] != digest(value):
                wrong[key] = offset
        for key, number in self._numbers.items():
            if self._offsets[number] >= 0 and key not in expected:
                wrong[key] = self._offsets[number]
        return wrong


def judge(
    reference: Reference,
    report: Report,
    changelog: Place,
    wrong: dict[bytes, int],
    expected: dict[bytes, bytes],
    found: dict[bytes, bytes],
) -> None:
    """Report the keys that are wrong indeed: bytes of an older release may differ and mean the same.

    `found` are the encoded states of the wrong keys in the changelog.
    """
    for key, offset in wrong.items():
        place = changelog._replace(offset=offset if offset >= 0 else None)
        want, have = expected.get(key), found.get(key)
        if want is None:
            report.add(Kind.EXTRA_STATE, place, f"key {name(key)}")
        elif not have:
            report.add(Kind.LOST_STATE, place, f"key {name(key)}")
        else:
            words = _difference(reference, want, have)
            if words is not None:
                report.add(Kind.OTHER_STATE, place, f"key {name(key)}: {words}")


def name(key: bytes) -> str:
    """Return a key as text."""
    return key.decode("ascii", "backslashreplace").replace("\0", "\\0")


def _difference(reference: Reference, want: bytes, have: bytes) -> str | None:
    """Return in words how two encoded states differ; None if they mean the same."""
    try:
        value = reference.codec.decode(have)
        again = reference.codec.encode(value)
    except Exception as error:  # noqa: BLE001 - whatever a codec says of bytes that it did not write
        return f"its bytes cannot be decoded: {error}"
    if again == want:
        return None
    wanted = fields(reference.codec.decode(want))
    differing = [
        f"{field} is {_short(found)}, the fold gives {_short(wanted.get(field))}"
        for field, found in fields(value).items()
        if found != wanted.get(field)
    ]
    return "; ".join(differing[:KEPT]) or f"{len(have)} bytes, the fold gives {len(want)} other ones"


def fields(value: Any) -> dict[str, Any]:
    """Return a state's fields by name; a value without fields is one field."""
    declared = getattr(value, "__struct_fields__", None)
    if declared is not None:
        return {field: getattr(value, field) for field in declared}
    return value if isinstance(value, dict) else {"it": value}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
