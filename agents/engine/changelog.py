"""The changelog of one partition: what a batch looks like, and how a restore reads it.

Every record, tombstones too, carries the *fence* as a header: the source offset up to which the
batch that wrote it had folded, and who wrote it.  State is a pure function of a prefix of the source,
so two owners that reach the same fence have the same state, and for each key the newest fence is right
whatever the order of appends.  A batch is appended whole, so a key at fence f implies all keys at f.

Owners are numbered: each takes the next number when it claims the partition, and its claim stands under
a key of its own until the next owner takes it away.  So a record of an owner that was followed by another
is told even if compaction has removed everything else that stood before it.

Compaction keeps the last *offset* of a key, not its newest fence.  A late append (a zombie's: of an earlier
owner, or with an older fence) makes its keys *suspect* until a newer one follows.  While the append is
younger than the compaction lag the newer version can still be read and is written again; after that only
the source knows, and the state is rebuilt from it.

Offsets only grow. So the watermark of a batch says at which offset its owner meant the batch to begin. One that stands
*before* that tells that the topic was made anew, or has lost its end, and was written to by somebody who did not know:
what is there may look like a changelog and is a part of one. So does one that was meant to stand behind the first word
of a *later* owner: whoever could mean it so had read what is gone.

It also says what the last record looked like that its owner had folded, so that a restore can tell whether the source
is still the one that the states were folded from: one that was made anew may have grown beyond their position.
"""

import dataclasses
import hashlib
import struct
import uuid
from collections.abc import Iterable, Sequence

from agents.engine.errors import Refused
from agents.engine.records import Entry, Headers, PlainEntry, Record

WATERMARK = b"\x00watermark"
REBUILT = b"\x00rebuilt"
"""Key of the record that says from which offset on the changelog is whole by itself, after a rebuild."""
CLAIM = b"\x00claim"
"""Beginning of the key under which a claim stands; its owner follows."""
OWN = (WATERMARK, REBUILT, CLAIM)
"""Beginnings of the keys by which a changelog speaks of itself: no states stand there."""
FENCE = "fence"
NOBODY = bytes(16)
"""The owner before the first."""
_MARK = struct.Struct(">q16s")
_NUMBER_BYTES = 8
_CLAIMED = b"\x01"
_HIDE_NOTHING = (CLAIM, REBUILT)
_FINGERPRINT_BYTES = 8
NOTHING_FOLDED = bytes(_FINGERPRINT_BYTES)
"""Fingerprint where no record was folded, or an older build did not say which."""
_OFFSET = struct.Struct(">q")
_VERSION = 4
_FORMATS = {3: struct.Struct(">BqI16sqI"), _VERSION: struct.Struct(">BqI16sqI8s")}
_REBUILD = "rebuild the state from the source (worker option --rebuild)"


@dataclasses.dataclass(frozen=True, slots=True)
class Watermark:
    """The record that ends every batch: how far the state goes, over how many partitions, by whom, meant for where."""

    position: int
    partitions: int
    owner: bytes
    begin: int = 0
    """The offset that its owner expected the first entry of its batch to get; it may get a greater one."""
    changes: int = 0
    """How many entries stand before it in its batch."""
    last: bytes = NOTHING_FOLDED
    """Fingerprint of the record at `position`."""

    @property
    def place(self) -> int:
        """The offset that its owner expected it to get itself."""
        return self.begin + self.changes

    def encode(self) -> bytes:
        """Return the bytes of its value."""
        return _FORMATS[_VERSION].pack(_VERSION, *dataclasses.astuple(self))

    @staticmethod
    def decode(value: bytes) -> "Watermark":
        """Return the watermark; raise Refused for one of a newer release."""
        layout = _FORMATS.get(value[0]) if value else None
        if layout is None or len(value) != layout.size:
            raise Refused(
                f"changelog watermark of format {value[:1].hex() or 'empty'} but this release knows formats up to "
                f"{_VERSION}: start the release that wrote it, or {_REBUILD}"
            )
        return Watermark(*layout.unpack(value)[1:])


def fingerprint(record: Record) -> bytes:
    """Return what tells a record from any other: 8 bytes of BLAKE2b over key, value and headers.

    Its append time is left out: a log that was put back from a copy has other times and the same meaning.
    """
    content = (record.key, record.value, [(name, value) for name, value in record.headers])
    return hashlib.blake2b(repr(content).encode(), digest_size=_FINGERPRINT_BYTES).digest()


def batch(
    changes: Iterable[tuple[bytes, bytes | None]],
    position: int,
    partitions: int,
    owner: bytes,
    begin: int = 0,
    last: bytes = NOTHING_FOLDED,
) -> list[PlainEntry]:
    """Return the entries of one changelog batch: every changed key once, then the watermark.

    `begin` is the offset that its first entry is meant to get, `last` the fingerprint of the record at `position`.
    """
    headers = [(FENCE, _MARK.pack(position, owner))]
    entries: list[PlainEntry] = [(key, value, headers) for key, value in changes]
    watermark = Watermark(position, partitions, owner, begin, len(entries), last)
    entries.append(Entry(WATERMARK, watermark.encode(), headers))
    return entries


def mark(position: int, partitions: int, last: bytes) -> list[PlainEntry]:
    """Return what a job without state says of where it is; `last` as for `batch`."""
    return batch([], position, partitions, NOBODY, last=last)


def rebuilt_from(offset: int) -> tuple[bytes, bytes]:
    """Return the change that says that everything from an offset on makes a whole changelog."""
    return REBUILT, _OFFSET.pack(offset)


def successor(owner: bytes) -> bytes:
    """Return who comes after an owner: the next number, and what tells two apart that claim it at once."""
    number = int.from_bytes(owner[:_NUMBER_BYTES], "big") + 1
    return number.to_bytes(_NUMBER_BYTES, "big") + uuid.uuid4().bytes[:_NUMBER_BYTES]


def claim(owner: bytes) -> tuple[bytes, bytes]:
    """Return the change that says whose the partition is from here on."""
    return CLAIM + owner, _CLAIMED


def unclaim(owner: bytes) -> tuple[bytes, None]:
    """Return the change that takes a former owner's claim away, once all that it tells of is repaired."""
    return CLAIM + owner, None


def fence_of(record: Record) -> int | None:
    """Return the fence of a changelog record, None for one that no fold of this format wrote."""
    mark = _mark_of(record)
    return None if mark is None else mark[0]


def _mark_of(record: Record) -> tuple[int, bytes] | None:
    for name, value in record.headers:
        if name == FENCE and value is not None and len(value) == _MARK.size:
            return _MARK.unpack(value)
    return None


def _without_mark(record: Record) -> str:
    return (
        f"record {record.topic}/{record.partition}/{record.offset} has no fence of this format: an older build wrote "
        f"it, or something other than this engine, whose right to write there must be revoked first; then {_REBUILD}"
    )


@dataclasses.dataclass(slots=True)
class Restored:
    """What a scan of a changelog has found so far.

    States are filled in by the caller; here stand fences, so that late appends are told. A scan may begin behind what
    the caller holds already, as long as it finds no suspects: of keys not seen it cannot tell what is newer.
    """

    position: int = -1
    next_offset: int = 0
    last: bytes = NOTHING_FOLDED
    """Fingerprint of the source's record at `position`."""
    partitions: int | None = None
    owner: bytes = NOBODY
    """The last who claimed the partition."""
    whole_from: int = 0
    """Offset of the changelog that must still be there for it to be whole: 0, or where a rebuild began."""
    fences: dict[bytes, int] = dataclasses.field(default_factory=dict)
    suspects: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Keys whose last append is a late one -> its append time, milliseconds."""
    claims: dict[bytes, None] = dataclasses.field(default_factory=dict)
    """Owners whose claims stand."""
    unheard: bool = False
    """Whether a claim was taken away that neither this scan nor an earlier one has seen."""
    misplaced: int = -1
    """Highest offset of a watermark that tells that records were lost."""
    unreadable_at: int = -1
    """Highest offset of a record that cannot be read; only a rebuild may go on behind it."""
    unreadable: str = ""
    """Why it cannot, and what to do."""
    foreign: dict[bytes, None] = dataclasses.field(default_factory=dict)
    """Keys of such records."""
    followed: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Numbers of owners after the first -> the first offset at which each has written."""

    def scan(self, records: Sequence[Record]) -> list[tuple[bytes, bytes | None]]:
        """Take in a run; return the changes that stand (newest fence of each key), in order."""
        changes: list[tuple[bytes, bytes | None]] = []
        fences, suspects = self.fences, self.suspects
        headers: Headers | None = None
        fence, late = -1, False
        for record in records:
            if record.headers != headers:  # the records of a batch have the same mark
                begun = self._begin_batch(record)
                if begun is None:
                    continue
                headers, (fence, late) = record.headers, begun
            key, value = record.key, record.value
            if key is None:
                self._pass_over(record, _without_mark(record))
                continue
            if late and not key.startswith(_HIDE_NOTHING):
                suspects[key] = record.timestamp
            elif suspects:
                suspects.pop(key, None)
            if key.startswith(OWN):
                self._take_own(key, value, record)
                continue
            # A key that was not seen: whoever came further has removed it, and the tombstone is gone.
            known = fences.get(key, self.position)
            if fence < known:
                fences[key] = known
                continue
            fences[key] = fence
            changes.append((key, value))
        if records:
            self.next_offset = records[-1].offset + 1
        return changes

    def _begin_batch(self, record: Record) -> tuple[int, bool] | None:
        """Take in the mark of a batch; return its fence and whether it is late, None where there is no mark."""
        mark = _mark_of(record)
        if mark is None:
            self._pass_over(record, _without_mark(record))
            return None
        fence, owner = mark
        late = (owner != self.owner and not self._is_next(owner, record.offset)) or fence < self.position
        if fence > self.position:  # a batch is whole: one record of it proves all of it
            self.position, self.last = fence, NOTHING_FOLDED  # until its watermark says more
        return fence, late

    def _pass_over(self, record: Record, why: str) -> None:
        self.unreadable_at, self.unreadable = record.offset, why
        if record.key not in (None, WATERMARK, REBUILT):
            self.foreign[record.key] = None

    def _is_next(self, owner: bytes, offset: int) -> bool:
        """Take a later owner for the one; return whether it is a later one."""
        number = owner[:_NUMBER_BYTES]
        later = number > self.owner[:_NUMBER_BYTES]
        if later:
            self.owner = owner
            self.followed[number] = offset
        return later

    def _take_own(self, key: bytes, value: bytes | None, record: Record) -> None:
        """Take in what the changelog says of itself."""
        if not key.startswith(CLAIM):
            try:
                self._take_word(key, value or b"", record.offset)
            except Refused as error:
                self._pass_over(record, str(error))
        elif value is None:
            claim_of = key[len(CLAIM) :]
            self.unheard |= claim_of not in self.claims
            self.claims.pop(claim_of, None)
        else:
            self.claims[key[len(CLAIM) :]] = None

    def _take_word(self, key: bytes, value: bytes, offset: int) -> None:
        if key == WATERMARK:
            watermark = Watermark.decode(value)
            self.partitions = watermark.partitions
            if watermark.position == self.position:  # else it came late
                self.last = watermark.last
            if offset < watermark.place or self._was_lost(watermark):
                self.misplaced = offset
            return
        if len(value) != _OFFSET.size:
            raise Refused(f"what the changelog has at offset {offset} about a rebuild is no offset: {_REBUILD}")
        start = int(_OFFSET.unpack(value)[0])
        # If the rebuild stands before where it was meant to, that offset is one of a topic that is gone.
        self.whole_from = start if start <= offset else 0

    def _was_lost(self, watermark: Watermark) -> bool:
        """Return whether a later owner stands where the owner of this one had seen other records."""
        if watermark.owner == self.owner:
            return False
        number = watermark.owner[:_NUMBER_BYTES]
        return any(later > number and offset < watermark.begin for later, offset in self.followed.items())

    @property
    def follows(self) -> bool:
        """Whether what was found behind the end of an earlier scan follows on that, as far as one can tell.

        Every owner who is heard of for the first time has claimed the partition behind that end, unless it died before
        it did; and a later one takes away no claims but those.
        """
        return not self.unheard and (self.owner == NOBODY or self.owner in self.claims)

    @property
    def hidden(self) -> list[bytes]:
        """Keys whose states a late append has hidden; a late watermark says that there may be more, tombstones gone."""
        return [key for key in self.suspects if key != WATERMARK]

    def lost_to_compaction(self, now_ms: int, lag_ms: int) -> int:
        """Return how many suspects are so old that compaction may have removed their newest version."""
        limit = now_ms - lag_ms
        return sum(timestamp < limit for timestamp in self.suspects.values())
