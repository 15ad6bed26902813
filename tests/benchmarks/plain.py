"""The plain fold that all plain contenders have in common, and its sequential result.

An event is 20 bytes: kind, amount, time.  A state is count, sum and a count for each kind, encoded
with msgspec as msgpack.  Every fifth event of a customer gives an output: the state, with a header
`position` (partition/offset/index), by which a consumer tells a repetition.  Outputs are byte for
byte the same for all contenders.
"""

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

PARTITIONS: Final = 4
"""Of source, outputs and changelog."""
BATCH: Final = 2_000
"""Records of one partition that are folded, and their states coalesced, at once: the default of `Job`."""
FETCH_BYTES: Final = 1_048_576
COMMIT_SECONDS: Final = 0.5
"""How often a contender commits, where it commits by the clock."""
CUSTOMERS: Final = 10_000
EVENTS_PER_CUSTOMER: Final = 20
"""At least; with few events there are fewer customers, else nobody would reach a fifth event."""
KINDS: Final = 8
POSITION: Final = "position"

EVENT: Final = struct.Struct(">Iqq")
"""Kind, amount in minor units, time in milliseconds since 1970."""
_unpack: Final = EVENT.unpack


class State(msgspec.Struct, array_like=True):
    """State of a customer."""

    count: int = 0
    sum: int = 0
    kinds: list[int] = msgspec.field(default_factory=lambda: [0] * KINDS)

    def add(self, event: bytes) -> bool:
        """Take in an event; return whether an output is due."""
        kind, amount, _ = _unpack(event)
        self.count = count = self.count + 1
        self.sum += amount
        self.kinds[kind] += 1
        return count % 5 == 0


encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(State).decode


class Input(NamedTuple):
    """How many events of how many customers."""

    events: int
    customers: int

    @classmethod
    def of(cls, events: int) -> "Input":
        """Return so many events of 10 thousand customers, or of fewer where that leaves under 20 events each."""
        return cls(events, max(1, min(CUSTOMERS, events // EVENTS_PER_CUSTOMER)))

    def part(self, divisor: int) -> "Input":
        """Return a part that has as many events for each customer as the whole."""
        return Input(max(1, self.events // divisor), max(1, self.customers // divisor))

    def records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield partition, key, event: the same at each call."""
        chance = random.Random(7)
        number = chance.randrange
        for time_ms in range(self.events):
            customer = number(self.customers)
            event = EVENT.pack(number(KINDS), number(100_000), 1_500_000_000_000 + time_ms)
            yield customer % PARTITIONS, b"customer-%06d" % customer, event


class Result(NamedTuple):
    """What a fold leaves: encoded states by key; key and value of outputs by position."""

    states: dict[bytes, bytes]
    outputs: dict[bytes, tuple[bytes | None, bytes | None]]


def sequential(given: Input) -> Result:
    """Fold the input one event after the other."""
    states: dict[bytes, State] = {}
    outputs: dict[bytes, tuple[bytes | None, bytes | None]] = {}
    offsets = [0] * PARTITIONS
    for partition, key, event in given.records():
        state = states.setdefault(key, State())
        if state.add(event):
            outputs[position(partition, offsets[partition])] = key, encode(state)
        offsets[partition] += 1
    return Result({key: encode(state) for key, state in states.items()}, outputs)


def position(partition: int, offset: int) -> bytes:
    """Return the value of an output's header: each event has one output at most."""
    return b"%d/%d/0" % (partition, offset)


def output_partition(key: bytes) -> int:
    """Return the partition of an output."""
    return zlib.crc32(key) % PARTITIONS
