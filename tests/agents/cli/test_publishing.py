"""Publishing of policies and models, and `attune model publish`: a document that is wrong reaches no topic."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from agents import documents
from agents.clients import kafka
from agents.errors import UsageError
from agents.journal.placement import Step
from agents.journal.publish import Document, approval
from agents.settings import Settings
from schemas import topics
from schemas.policy import InvalidPolicy
from tests.agents.cli.conftest import Attune, send
from tests.streams.journal import MODEL, PACK

pytestmark = pytest.mark.kafka


def ends(settings: Settings) -> dict[str, int]:
    """Return how much was ever written to the topics of documents and approvals."""

    async def read() -> dict[str, int]:
        consumer = kafka.consumer(settings.kafka)
        await consumer.start()
        try:
            tps = [TopicPartition(topic, 0) for topic in (topics.POLICIES, topics.MODELS, topics.APPROVALS)]
            return {tp.topic: end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_a_policy_with_an_unknown_field(connected: Settings) -> None:
    """It is refused with the place and what was meant; neither the policy nor its approval is written."""
    before = ends(connected)
    with pytest.raises(InvalidPolicy, match=r"propensty.*did you mean propensity\?"):
        asyncio.run(
            documents.publish(connected, "policy", PACK.replace(b"propensity:", b"propensty:", 1), approved_by="ann")
        )
    assert ends(connected) == before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_model_with_a_number_that_is_none(connected: Settings, attune: Attune, tmp_path: Path, number: str) -> None:
    """Exit 1, naming the coefficient; neither the model nor its approval is written."""
    document = json.loads(MODEL)
    document["coefficients"][0] = float(number)
    file = tmp_path / "model.json"
    file.write_text(json.dumps(document))
    before = ends(connected)
    done = attune("model", "publish", str(file), "--by", "ann")
    assert done.code == 1
    assert "coefficients[0]" in done.err
    assert "publish it again" in done.err
    assert ends(connected) == before


def test_a_version_never_changes(connected: Settings, attune: Attune, tmp_path: Path) -> None:
    """Published once and again it is the same; other bytes under its name and version are refused: exit 1."""
    file = tmp_path / "model.json"
    name = f"model-{uuid.uuid4().hex[:8]}"
    file.write_bytes(MODEL.replace(b"retail-activity", name.encode()))
    first = json.loads(attune("model", "publish", str(file), "--by", "ann", "--json").out)
    assert (first["kind"], first["name"]) == ("model", name)
    again = json.loads(attune("model", "publish", str(file), "--by", "ann", "--json").out)
    assert (again["sha256"], again["sequence"] > first["sequence"]) == (first["sha256"], True)
    file.write_bytes(file.read_bytes() + b"\n")
    other = attune("model", "publish", str(file), "--by", "ann")
    assert other.code == 1
    assert "set a new version" in other.err


def test_an_earlier_version_can_be_approved_again(connected: Settings, attune: Attune, tmp_path: Path) -> None:
    """`list` says which one decides; `rollback` goes to the one before, or to the one that is named."""
    name = f"pack-{uuid.uuid4().hex[:8]}"
    for version in (1, 2, 3):
        file = tmp_path / f"{version}.yaml"
        raw = PACK.replace(b"name: retail-thin", f"name: {name}".encode())
        file.write_bytes(raw.replace(b"version: 1\n", f"version: {version}\n".encode(), 1))
        assert attune("policy", "publish", str(file), "--by", "ann").code == 0

    def active() -> list[str]:
        found = json.loads(attune("policy", "list", "--json").out)["versions"]
        return [one["version"] for one in found if one["name"] == name and one["is_active"]]

    assert active() == ["3"]
    back = json.loads(attune("policy", "rollback", "--by", "bob", "--json").out)
    assert (back["name"], back["version"], active()) == (name, "2", ["2"])
    assert attune("policy", "rollback", "--to", f"{name}/1", "--by", "bob").code == 0
    assert active() == ["1"]
    again = attune("policy", "rollback", "--to", f"{name}/1", "--by", "bob")
    assert again.code == 1
    assert "is the active one" in again.err
    missing = attune("policy", "rollback", "--to", f"{name}/9", "--by", "bob")
    assert missing.code == 1
    assert f"no policy {name}/9 was published" in missing.err
    assert f"{name}" in attune("policy", "list").out


def test_an_approval_that_was_passed_over_decides_nothing(connected: Settings, attune: Attune, tmp_path: Path) -> None:
    """`list` shows the last one that can be read as active, and why the newest is not; `rollback` goes on there."""
    name = f"pack-{uuid.uuid4().hex[:8]}"
    for version in (1, 2):
        file = tmp_path / f"{version}.yaml"
        raw = PACK.replace(b"name: retail-thin", f"name: {name}".encode())
        file.write_bytes(raw.replace(b"version: 1\n", f"version: {version}\n".encode(), 1))
        assert attune("policy", "publish", str(file), "--by", "ann").code == 0
    unread = f"name: {name}\nversion: {'9' * 5_000}\n".encode()
    bad = Document("policy", name, "9" * 5_000, unread)
    key, value = approval("policy", name, bad.version, bad.sha256, approved_by="ann")
    send(
        connected,
        [
            {"topic": topics.POLICIES, "key": bad.key, "value": unread},
            {"topic": topics.POLICIES, "key": b"by hand", "value": b"name: x"},
            {"topic": topics.APPROVALS, "key": key, "value": value},
        ],
    )
    listed = [one for one in json.loads(attune("policy", "list", "--json").out)["versions"] if one["name"] == name]
    assert [one["is_active"] for one in listed] == [False, True, False]
    assert "cannot read its document as a policy" in listed[-1]["passed_over"]
    assert [one["passed_over"] for one in listed[:-1]] == [None, None]
    assert "was approved and passed over" in (shown := attune("policy", "list").out)
    assert bad.version not in shown
    assert json.loads(attune("policy", "rollback", "--by", "bob", "--json").out)["version"] == "1"
    refused = attune("policy", "rollback", "--to", f"{name}/{bad.version}", "--by", "bob")
    assert refused.code == 1
    assert "would be passed over" in refused.err


@pytest.mark.parametrize("by", ["\udcff", "", " ", "ann\nbob", "a" * 201])
def test_a_name_that_cannot_stand_in_the_log(connected: Settings, attune: Attune, tmp_path: Path, by: str) -> None:
    """Exit 2 with the flag, before anything is written, whatever is approved."""
    file, model = tmp_path / "pack.yaml", tmp_path / "model.json"
    file.write_bytes(PACK)
    model.write_bytes(MODEL)
    before = ends(connected)
    for command in (
        ("policy", "publish", str(file)),
        ("policy", "rollback"),
        ("model", "publish", str(model)),
        ("model", "rollback"),
        ("logic", "activate", "1"),
    ):
        refused = attune(*command, "--by", by)
        assert refused.code == 2, command
        assert refused.err.startswith("attune: --by "), command
    with pytest.raises(UsageError):
        asyncio.run(documents.approve_placement(connected, Step.COPY, 12, approved_by=by))
    assert ends(connected) == before


def test_logic_that_this_release_does_not_know_is_not_approved(connected: Settings, attune: Attune) -> None:
    """Exit 2 before anything is written: folds that do not know it would wait."""
    before = ends(connected)
    refused = attune("logic", "activate", "2", "--by", "ann")
    assert refused.code == 2
    assert "upgrade this command and every worker first" in refused.err
    assert ends(connected) == before
    assert "logic 1 is approved" in attune("logic", "activate", "1", "--by", "ann").out
