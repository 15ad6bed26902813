"""Whether a contender's results are right, by comparison with a sequential fold of the same input."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Right if nothing is wrong; `facts` are counts worth keeping."""

    wrong: tuple[str, ...]
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)

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
