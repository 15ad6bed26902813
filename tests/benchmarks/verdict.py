"""Whether a contender's results are right, by comparison with a sequential fold of the same input."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Tally:
    """What was lost or doubled, in events by the counts in the states, and in outputs by their positions."""

    lost_events: int = 0
    doubled_events: int = 0
    wrong_states: int = 0
    """States whose count is right and all else is not."""
    lost_outputs: int = 0
    doubled_outputs: int = 0
    """Copies of an output beyond the first; byte for byte the same."""
    wrong_outputs: int = 0
    """Records that are no output of the sequential fold."""

    def __add__(self, other: "Tally") -> "Tally":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Tally(*(mine + theirs for mine, theirs in pairs))

    def __str__(self) -> str:
        """Say `right`, or what is not."""
        words = [f"{count:,} {name.replace('_', ' ')}" for name, count in dataclasses.asdict(self).items() if count]
        return ", ".join(words) or "right"

    @property
    def sound(self) -> bool:
        """Whether every state and every output is as it must be, copies of outputs aside."""
        return dataclasses.replace(self, doubled_outputs=0) == Tally()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Right if nothing is wrong; `facts` are counts worth keeping; `tally` is of contests that can tell."""

    wrong: tuple[str, ...]
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tally: Tally = dataclasses.field(default_factory=Tally)

    @property
    def right(self) -> bool:
        """Whether all is as it must be."""
        return not self.wrong


def differences(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> Iterable[str]:
    """Say how many are missing, too many or different, with one example."""
    if found == expected:
        return
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    other = [key for key, value in expected.items() if key in found and found[key] != value]
    example = next(iter((*missing, *extra, *other)), None)
    yield f"{what}: {len(missing)} missing, {len(extra)} too many, {len(other)} different, e.g. {example!r}"


def repetitions(what: str, records: int, distinct: int) -> Iterable[str]:
    """Say how many records repeat another; nothing failed in a benchmark, so there is no reason for any."""
    if records != distinct:
        yield f"{what}: {records - distinct} of {records} records are repetitions"
