"""What a journal partition remembers of itself, under a reserved key."""

from typing import Final

from msgspec import Struct, field

from streams.logic import FIRST

PARTITION_KEY: Final = b"\x00partition"
"""Key of the partition's own state; no surrogate begins with a zero byte."""


ALL_SWEPT: Final = 256
"""First bytes of keys that there are."""


class Active(Struct, array_like=True, gc=False, frozen=True):
    """The document of one kind that decides, and the sequence of its approval."""

    name: str
    version: str
    sha256: str
    sequence: int


class Partition(Struct, array_like=True, gc=False, tag="partition"):
    """Its clock, how far each origin was copied, what is active, and how often which undeclared type came.

    `logic` is the active version of the core's behaviour, `logic_sequence` that of its approval. Where the journal was
    split (streams/growth.py), `split_to` is over how many partitions its customers are spread since, `place_base` what
    an offset needs to be a place that goes on from the old partition, `swept` the next first byte of keys to look
    through for customers who have moved away, and `copying` says that the copies have not ended: the customers are
    still served by the old partition.
    """

    clock_ms: int = 0
    watermarks: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    policy: Active | None = None
    model: Active | None = None
    undeclared: dict[str, int] = field(default_factory=dict)
    logic: int = FIRST
    logic_sequence: int = -1
    split_to: int = 0
    place_base: int = 0
    swept: int = ALL_SWEPT
    copying: bool = False
