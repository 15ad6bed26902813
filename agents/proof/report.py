"""What the oracle found: a verdict, counts, and the first few differences in plain words."""

import dataclasses
from collections import Counter
from enum import StrEnum
from typing import Any, NamedTuple

KEPT = 5
"""So many differences of each kind are kept in words; all are counted."""


class Kind(StrEnum):
    """In what way the topics differ from what they must hold."""

    NOT_ROUTED = "interaction missing from the journal"
    UNKNOWN_ORIGIN = "journal record without an original"
    OTHER_CONTENT = "journal record differs from its original"
    PASSED_OVER = "interaction that the fold passes over"
    UNKNOWN_DEAD_LETTER = "dead letter without an original"
    FOREIGN = "record that no agent of ours writes"
    LOST_OUTPUT = "output missing"
    EXTRA_OUTPUT = "output that no fold gives"
    OTHER_OUTPUT = "output with another content"
    OTHER_STATE = "state in the changelog differs"
    OTHER_COPY = "copy within the journal that is not as its original"
    LOST_STATE = "state missing from the changelog"
    EXTRA_STATE = "state that no fold gives"
    FENCE = "fence beyond the journal"
    UNREADABLE = "changelog record that cannot be read"
    NOT_FOLDABLE = "journal that cannot be folded again"
    COMMIT = "commit beyond durable state"


class Place(NamedTuple):
    """Where in the cluster."""

    topic: str
    partition: int
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}" + ("" if self.offset is None else f"/{self.offset}")


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be."""

    kind: Kind
    place: Place
    words: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.place}: {self.words}"


@dataclasses.dataclass(slots=True)
class Report:
    """The verdict on one set of topics; counts are records unless they say otherwise."""

    interactions: int = 0
    routed: int = 0
    """Interactions that stand in the journal and count once."""
    dead: int = 0
    """Interactions that stand in the dead-letter topic."""
    both: int = 0
    """Of these, interactions that stand in the journal too: routed again under other circumstances."""
    expired_origins: int = 0
    """Journal records whose original is no longer retained."""
    journal: int = 0
    copies: int = 0
    """Journal records that repeat an interaction; the fold passes over them."""
    copied: int = 0
    """Journal records that a split copied into new partitions."""
    folded: int = 0
    unfolded: int = 0
    """Journal records beyond the fence: not judged yet."""
    states: int = 0
    outputs: int = 0
    """Outputs that the fold gives up to the fence, each found."""
    repeated_outputs: int = 0
    """The same output sent again, same content."""
    early_outputs: int = 0
    """Outputs beyond the fence, which is written after them; their content is judged all the same."""
    expired_outputs: int = 0
    """Outputs that the fold gives and whose topic no longer retains them."""
    refused: int = 0
    """Journal records whose fold failed, as the reference says."""
    fences: dict[int, int] = dataclasses.field(default_factory=dict)
    """Last durable journal offset by partition, -1 for none."""
    committed: dict[int, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    counts: Counter[Kind] = dataclasses.field(default_factory=Counter)
    """Differences by kind."""
    differences: list[Difference] = dataclasses.field(default_factory=list)
    """The first few of each kind."""

    @property
    def held(self) -> bool:
        """Whether nothing differs."""
        return not self.counts

    def wants(self, kind: Kind) -> bool:
        """Tell whether a further difference of this kind would be kept in words."""
        return self.counts[kind] < KEPT

    def add(self, kind: Kind, place: Place, words: str) -> None:
        """Count a difference and keep it if it is among the first of its kind."""
        if self.wants(kind):
            self.differences.append(Difference(kind, place, words))
        self.counts[kind] += 1

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values, the verdict first."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["fences"] = {str(partition): fence for partition, fence in sorted(self.fences.items())}
        plain["committed"] = {str(partition): offset for partition, offset in sorted(self.committed.items())}
        plain["seconds"] = round(self.seconds, 3)
        plain["counts"] = {kind.name.lower(): count for kind, count in self.counts.items() if count}
        plain["differences"] = [
            {"kind": found.kind.name.lower(), "place": str(found.place), "words": found.words}
            for found in self.differences
        ]
        return {"held": self.held, **plain}
