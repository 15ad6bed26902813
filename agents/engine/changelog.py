"""The changelog of one partition: what a batch looks like, and how a restore reads it.

Every record, tombstones too, carries the *fence* as a header: the source offset up to which the
batch that wrote it had folded.  State is a pure function of a prefix of the source, so two owners
that reach the same fence have the same state, and for each key the newest fence is right whatever
the order of appends.  A batch is appended whole, so a key at fence f implies all keys at f.

Compaction keeps the last *offset* of a key, not its newest fence.  A late append (a zombie's, with
an older fence) makes its keys *suspect* until a newer fence follows.  While the append is younger
than the compaction lag the newer version can still be read and is written again; after that only
the source knows, and the state is rebuilt from it.
"""

import dataclasses
import struct
from collections.abc import Iterable, Sequence

from agents.engine.errors import Refused
from agents.engine.records import Entry, PlainEntry, Record

WATERMARK = b"\x00watermark"
REBUILT = b"\x00rebuilt"
"""Key of the record that says from which offset on the changelog is whole by itself, after a rebuild."""
FENCE = "fence"
_FENCE = struct.Struct(">q")
_WATERMARK = struct.Struct(">BqI16s")
_OFFSET = struct.Struct(">q")
_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Watermark:
    """The record that ends every batch: how far the state goes, over how many partitions, by whom."""

    position: int
    partitions: int
    owner: bytes

    def encode(self) -> bytes:
        """Return the bytes of its value."""
        return _WATERMARK.pack(_VERSION, self.position, self.partitions, self.owner)

    @staticmethod
    def decode(value: bytes) -> "Watermark":
        """Return the watermark; raise Refused for one of a newer release."""
        if len(value) != _WATERMARK.size or value[0] != _VERSION:
            raise Refused(
                f"changelog watermark of format {value[:1].hex() or 'empty'} but this release knows format "
                f"{_VERSION}: start the release that wrote it, or a newer one"
            )
        _, position, partitions, owner = _WATERMARK.unpack(value)
        return Watermark(position, partitions, owner)


def batch(
    changes: Iterable[tuple[bytes, bytes | None]], position: int, partitions: int, owner: bytes
) -> list[PlainEntry]:
    """Return the entries of one changelog batch: every changed key once, then the watermark."""
    headers = [(FENCE, _FENCE.pack(position))]
    entries: list[PlainEntry] = [(key, value, headers) for key, value in changes]
    entries.append(Entry(WATERMARK, Watermark(position, partitions, owner).encode(), headers))
    return entries


def rebuilt_from(offset: int) -> tuple[bytes, bytes]:
    """Return the change that says that everything from an offset on makes a whole changelog."""
    return REBUILT, _OFFSET.pack(offset)


def fence_of(record: Record) -> int:
    """Return the fence of a changelog record."""
    for name, value in record.headers:
        if name == FENCE:
            return int(_FENCE.unpack(value)[0])
    raise Refused(
        f"record {record.topic}/{record.partition}/{record.offset} has no fence: something other than "
        f"this engine writes to the changelog; revoke its right to write and rebuild from the source"
    )


@dataclasses.dataclass(slots=True)
class Restored:
    """What a scan of a changelog has found so far.

    `states` is filled by the caller's table; here stand fences, so that late appends are told.
    """

    position: int = -1
    next_offset: int = 0
    partitions: int | None = None
    whole_from: int = 0
    """Offset of the changelog that must still be there for it to be whole: 0, or where a rebuild began."""
    base: int = dataclasses.field(init=False)
    """Fence of what the caller's table held before the scan."""
    fences: dict[bytes, int] = dataclasses.field(default_factory=dict)
    suspects: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Keys whose last append is a late one -> its append time, milliseconds."""

    def __post_init__(self) -> None:
        """Remember where the scan began."""
        self.base = self.position

    def scan(self, records: Sequence[Record]) -> list[tuple[bytes, bytes | None]]:
        """Take in a run; return the changes that stand (newest fence of each key), in order."""
        changes: list[tuple[bytes, bytes | None]] = []
        for record in records:
            self.next_offset = record.offset + 1
            fence = fence_of(record)
            late = fence < self.position
            self.position = max(self.position, fence)  # a batch is whole: one record of it proves all of it
            key = record.key
            if key == WATERMARK:
                self.partitions = Watermark.decode(record.value or b"").partitions
                continue
            if key == REBUILT:
                self.whole_from = int(_OFFSET.unpack(record.value or b"")[0])
                continue
            assert key is not None
            if late:
                self.suspects[key] = record.timestamp
            else:
                self.suspects.pop(key, None)
            if fence >= self.fences.get(key, self.base):
                self.fences[key] = fence
                changes.append((key, record.value))
        return changes

    def lost_to_compaction(self, now_ms: int, lag_ms: int) -> int:
        """Return how many suspects are so old that compaction may have removed their newest version."""
        limit = now_ms - lag_ms
        return sum(timestamp < limit for timestamp in self.suspects.values())
