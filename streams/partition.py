"""What a journal partition remembers of itself, under a reserved key."""

from typing import Final

from msgspec import Struct, field

from streams.logic import FIRST

PARTITION_KEY: Final = b"\x00partition"
"""Key of the partition's own state; no surrogate begins with a zero byte."""


class Active(Struct, array_like=True, gc=False, frozen=True):
    """The document of one kind that decides, and the sequence of its approval."""

    name: str
    version: str
    sha256: str
    sequence: int


class Partition(Struct, array_like=True, gc=False, tag="partition"):
    """Its clock, how far each origin was copied, what is active, and how often which undeclared type came.

    `logic` is the active version of the core's behaviour, `logic_sequence` that of its approval.
    """

    clock_ms: int = 0
    watermarks: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    policy: Active | None = None
    model: Active | None = None
    undeclared: dict[str, int] = field(default_factory=dict)
    logic: int = FIRST
    logic_sequence: int = -1
