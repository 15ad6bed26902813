"""Every story, on the pure core."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios import runner
from tests.streams.journal import Journal


class CoreStage:
    """A journal partition in memory."""

    def __init__(self, policy: bytes, model: bytes | None) -> None:
        self._journal = Journal(policy, model)

    def interact(self, customer: str, interaction: dict[str, Any]) -> Sequence[dict[str, Any]]:
        fields = dict(interaction)
        outputs = self._journal.interact(fields.pop("type"), customer=customer, **fields)
        return [output.body for output in outputs]

    def tick(self, time_ms: int) -> Sequence[dict[str, Any]]:
        return [output.body for output in self._journal.tick(time_ms)]


@pytest.mark.parametrize("path", runner.scenarios(), ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """What the file says holds."""
    scenario = runner.load(path)
    runner.play(scenario, CoreStage(scenario.policy, scenario.model))


def test_a_story_that_does_not_hold_is_noticed() -> None:
    """The runner compares; it does not nod."""
    scenario = runner.load(runner.HERE / "recall.yaml")
    scenario.story[0]["then"][0]["channel"] = "SOCIAL"
    with pytest.raises(AssertionError, match="channel"):
        runner.play(scenario, CoreStage(scenario.policy, scenario.model))
