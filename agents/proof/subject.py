"""What is judged, and what the oracle is handed: it imports neither the core nor the engine."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol


class Changelog(Protocol):
    """Reads one partition of a changelog from its first record."""

    @property
    def position(self) -> int:
        """The newest fence: the last source offset that is in the state, -1 for none."""

    @property
    def unreadable_at(self) -> int:
        """The offset of the last record that it could not read, -1 for none."""

    @property
    def unreadable(self) -> str:
        """Why it could not."""

    @property
    def whole_from(self) -> int:
        """The offset from which on the changelog is whole by itself: what stands before may be anything."""

    def scan(self, records: Sequence[Any], /) -> Sequence[tuple[bytes, bytes | None]]:
        """Return the changes that stand: of each key the newest fence; None for a removed key."""


class Codec(Protocol):
    """Encoding of one state."""

    def encode(self, value: Any, /) -> bytes:
        """Return the bytes."""

    def decode(self, encoded: bytes, /) -> Any:
        """Return the state."""


Output = Sequence[Any]
"""Topic, key, value, headers; more fields are not looked at."""

Changes = Mapping[bytes, bytes | None]
"""Encoded states that one record changed; None for a removed one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Names of the topics and groups to judge.  `outputs` are all that the fold writes, its dead letters too."""

    interactions: str
    interactions_dead: str
    journal: str
    changelog: str
    outputs: tuple[str, ...]
    router_group: str
    fold_group: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How one record folds and routes, by the code that is trusted.

    `muted` tells journal records that were copied within a split journal: their outputs are not sent again.
    `partitions` returns the numbers of partitions over which customers were spread, the first one first; it is called
    after `prepare`, by default the journal has one for ever.
    `step` is the pure step (table, record) -> outputs; `dead_letter` the output that stands for a record whose step
    raised; `check` raises where outputs or states are larger than the job allows; `partition_of` gives the partition
    of an output (topic, key, count), and `customer_of` the surrogate that a key of the interactions topic means
    (ValueError for none).  `type_of` names an interaction's schema and its fingerprint, `decode` reads it; both raise
    ValueError for what the router must refuse.  `prepare` is awaited after the ends of all topics are known and
    before the first record is folded: it fetches documents.  `learn` is awaited for each schema id that a framed
    interaction bears, once, before `type_of` meets it: it asks a registry.
    """

    step: Callable[[Any, Any], Sequence[Output]]
    codec: Codec
    dead_letter: Callable[[Any, BaseException], Output]
    new_changelog: Callable[[], Changelog]
    customer_of: Callable[[bytes | None], str]
    type_of: Callable[[bytes | None], tuple[str, str]]
    decode: Callable[[bytes | None], dict[str, Any]]
    partition_of: Callable[[str, bytes | None, int], int]
    check: Callable[[Sequence[Output], Changes], None] = lambda _outputs, _changes: None
    prepare: Callable[[], Awaitable[None]] | None = None
    learn: Callable[[int], Awaitable[None]] | None = None
    muted: Callable[[Any], bool] = lambda _record: False
    partitions: Callable[[], Sequence[int]] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Clients:
    """Makers of clients that are not started: a consumer without group and subscription, an admin client."""

    consumer: Callable[[], Any]
    admin: Callable[[], Any]


Progress = Callable[[str, int, int], None]
"""Told the topic that is being read, how many of its records were, and how many there are."""
