"""What a user of the engine declares: where records come from, how they fold, where results go."""

import dataclasses
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from agents.engine.errors import EngineError
from agents.engine.records import Output, Record
from agents.engine.table import StateTable


class Step(Protocol):
    """A pure function of the table and one record; it may change the table and returns outputs."""

    def __call__(self, table: StateTable, record: Record, /) -> Sequence[Any]:
        """Return outputs: `Output` or plain tuples (topic, key, value, headers[, partition])."""


class StateCodec(Protocol):
    """Encoding of one state; `decode(encode(x))` equals x."""

    def encode(self, value: Any, /) -> bytes:
        """Return the bytes of one state."""

    def decode(self, encoded: bytes, /) -> Any:
        """Return the state; raise if its version is newer than this release knows."""


Prepare = Callable[[Sequence[Record]], Awaitable[None]]
DeadLetter = Callable[[Record, BaseException], Output]
Partitioner = Callable[[str, bytes | None, int], int]


def by_crc32(_topic: str, key: bytes | None, partitions: int) -> int:
    """Choose a partition as librdkafka's `consistent` does: CRC-32 of the key modulo the count."""
    return zlib.crc32(key or b"") % partitions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A fold of one source topic.

    With `changelog` None the job is stateless: outputs durable, then commit.  With a changelog:
    outputs durable, then the changelog batch durable, then commit.
    """

    name: str
    source: str
    step: Step
    outputs: tuple[str, ...]
    dead_letter: DeadLetter
    codec: StateCodec | None = None
    changelog: str | None = None
    marks: str | None = None
    """Topic by which a job without state knows its log again: now and then it says how far it is, and what is there.

    It should have as many partitions as the source: those beyond are read without marks.
    """
    new_source: str = "start a new changelog"
    """What to do where the source was made anew on purpose, for the message that refuses it."""
    partitioner: Partitioner = by_crc32
    in_flight: int = 2
    """Batches of one partition that may be unacknowledged at once; appended in order."""
    expected_partitions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Topics whose number of partitions must be this, since the step counts on it."""
    may_grow: bool = False
    """Keys are placed by something that knows its own number of partitions: `expected_partitions` may have more, and
    the source more than its states were folded over, never fewer."""
    muted: Callable[[Record], bool] | None = None
    """Tells records whose outputs, dead letters too, have gone out already: they are folded, and nothing is sent."""
    max_batch_records: int = 2_000
    max_batch_bytes: int = 1_000_000
    """A changelog batch that would encode larger is cut into two source batches."""
    max_state_bytes: int = 256_000
    max_output_bytes: int = 900_000
    watermark_seconds: float = 5.0
    """An idle owner appends a watermark this often; marks of a busy one have so much time between them."""
    drain_seconds: float = 5.0
    """How long a revocation waits for what is in flight before it abandons it."""
    send_seconds: float = 30.0
    """A send that is unacknowledged for so long is abandoned together with its producer."""
    confirm_seconds: float = 30.0
    """A log that seems to have lost its end is looked at for so long before that is believed."""
    retain_seconds: float = 600.0
    """A cleanly drained state is kept this long after a revocation."""
    compaction_lag_ms: int = 300_000
    """`min.compaction.lag.ms` of the changelog: until then every append can still be read."""
    decoded_states: int = 200_000
    """Decoded states kept warm per partition (two generations of this size)."""
    memory_bytes: int | None = None
    """So much memory the states at rest of one process may take; beyond it partitions wait for another process."""
    retry_seconds: float = 1.0
    whole_source: bool = True
    """Refuse to begin an empty state on a source whose first records are gone."""
    prepare: Prepare | None = None
    """Called with each run before it is folded, to fetch what the step will look up (schemas, keys).

    Stateless jobs only, since a fold may depend on its log alone.  What it raises blocks the
    partition until a later call succeeds.
    """
    ready: Callable[[], Awaitable[None]] | None = None
    """Awaited before states are restored: makes sure that what a rebuild will look up (documents by digest) is here."""
    position_header: str | None = None
    """Name of the header that carries `partition/offset/index` on every output."""

    def __post_init__(self) -> None:
        """Refuse a combination that could not be replayed."""
        if self.prepare is not None and self.changelog is not None:
            raise EngineError(f"job {self.name}: a fold with state depends on its log alone, so it takes no `prepare`")
        if self.marks is not None and self.changelog is not None:
            raise EngineError(f"job {self.name}: what marks would say stands in the changelog")

    @property
    def stateful(self) -> bool:
        """Whether the job keeps state in a changelog."""
        return self.changelog is not None
