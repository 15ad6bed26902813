"""Reads stories and plays them on a stage. README.md says how a story is written."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_KIND = {"proposed": "PROPOSED", "recalled": "RECALLED", "no action": "NO_ACTION", "suppression": ""}


class Stage(Protocol):
    """Where a story is played: something that takes interactions and gives back what came out of each."""

    def interact(self, customer: str, interaction: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """Publish an interaction of a customer (32 hex digits); return the decoded outputs, in their order."""

    def tick(self, time_ms: int) -> Sequence[dict[str, Any]]:
        """Move the clock; return the outputs."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story, with the raw documents that are active in it."""

    name: str
    policy: bytes
    model: bytes | None
    given: list[dict[str, Any]]
    story: list[dict[str, Any]]


def scenarios() -> list[Path]:
    """Return the files of all stories."""
    return sorted(HERE.glob("*.yaml"))


def load(path: Path) -> Scenario:
    """Read a story."""
    plain = yaml.safe_load(path.read_text())
    unknown = set(plain) - {"scenario", "policy", "model", "given", "story"}
    assert not unknown, f"{path.name}: unknown fields {unknown}"
    pack = HERE / f"policies/{plain['policy']}.yaml"
    if not pack.exists():
        pack = ROOT / f"schemas/packs/{plain['policy']}.yaml"
    model = plain.get("model")
    return Scenario(
        plain["scenario"],
        pack.read_bytes(),
        None if model is None else (ROOT / f"schemas/models/{model}.json").read_bytes(),
        plain["given"],
        plain["story"],
    )


def play(scenario: Scenario, stage: Stage) -> None:
    """Play a story; AssertionError says at which step something else came out."""
    player = _Player(stage)
    for number, event in enumerate(scenario.given):
        player.publish(event, f"given-{number}")
    for number, step in enumerate(scenario.story):
        assert set(step) == {"when", "then"}, f"step {number} needs when and then"
        outputs = player.publish(step["when"], f"step-{number}")
        expected = step["then"]
        assert [_brief(output) for output in outputs] == [_first(entry) for entry in expected], (
            f"step {number}, {step['when']}"
        )
        for output, entry in zip(outputs, expected, strict=True):
            _compare(output, entry, f"step {number}, {step['when']}")


class _Player:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._decisions: dict[tuple[str, str], str] = {}

    def publish(self, when: dict[str, Any], event_id: str) -> Sequence[dict[str, Any]]:
        if "tick" in when:
            return self._stage.tick(_ms(when["tick"]))
        fields = dict(when)
        customer = hashlib.sha256(fields.pop("customer", "ann").encode()).hexdigest()[:32]
        interaction: dict[str, Any] = {
            "type": fields.pop("event"),
            "occurred_at": _ms(fields.pop("at")),
            "event_id": fields.pop("id", event_id),
            "source": "scenario",
        }
        if "answers" in fields:
            interaction["decision_id"] = self._decisions[customer, fields.pop("answers")]
        outputs = self._stage.interact(customer, interaction | fields)
        for output in outputs:
            if output.get("kind") == "PROPOSED":
                self._decisions[customer, output["action_id"]] = output["decision_id"]
            elif output.get("kind") == "RECALLED":
                assert output["recalls"] == self._decisions[customer, output["action_id"]]
        return outputs


def _ms(text: str | datetime) -> int:
    moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _brief(output: dict[str, Any]) -> tuple[str, str | None]:
    """Return what an output is, in the words of a story."""
    if "status" in output:
        return "suppression", output["status"]
    kind = output["kind"]
    if kind == "NO_ACTION":
        return "no action", output["reason"]
    return kind.lower(), output["action_id"]


def _first(entry: dict[str, Any]) -> tuple[str, str]:
    (kind,) = [word for word in entry if word in _KIND]
    return kind, entry[kind]


def _compare(output: dict[str, Any], entry: dict[str, Any], where: str) -> None:
    for field, expected in entry.items():
        if field in _KIND:
            continue
        actual = output[field]
        if field == "candidates":
            actual = {candidate["action_id"]: candidate["reason"] for candidate in actual}
        assert actual == expected, f"{where}: {field}"
