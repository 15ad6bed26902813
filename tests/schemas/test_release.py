"""Publishing a changed schema: a version and an id more, or nothing at all when it cannot read its history."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import compatibility, release, versions


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of schemas/avro that a test may change."""
    copied = tmp_path / "avro"
    shutil.copytree(versions.FOLDER, copied)
    monkeypatch.setattr(versions, "FOLDER", copied)
    return copied


def _change(folder: Path, monkeypatch: pytest.MonkeyPatch, field: dict[str, Any]) -> None:
    schema = copy.deepcopy(dict(versions.CURRENT["Suppression"]))
    schema["fields"].append(field)
    (folder / "Suppression.avsc").write_text(json.dumps(schema))
    monkeypatch.setattr(versions, "CURRENT", {**versions.CURRENT, "Suppression": schema})


def test_what_is_committed_is_published() -> None:
    """Nothing waits for a release."""
    assert list(release.unpublished()) == []


def test_a_compatible_change_gets_a_version_and_an_id(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The history file is the schema, the id is new, the earlier rows stand as they stood."""
    before = (folder / "ids.yaml").read_text()
    _change(folder, monkeypatch, {"name": "note", "type": "string", "default": ""})
    assert release.main() == 0
    assert (folder / "history/Suppression/2.avsc").read_bytes() == (folder / "Suppression.avsc").read_bytes()
    after = (folder / "ids.yaml").read_text()
    assert after.startswith(before)
    row = yaml.safe_load(after)[-1]
    assert (row["name"], row["version"]) == ("Suppression", 2)
    assert row["id"] not in versions.BY_ID
    monkeypatch.setattr(versions, "PUBLISHED", versions._read_published())
    assert versions._read_published()[-1].fingerprint == row["fingerprint"]
    assert "1 schemas published" in capsys.readouterr().out


def test_an_incompatible_change_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, the field, and what to do; files stay as they were."""
    before = (folder / "ids.yaml").read_text()
    _change(folder, monkeypatch, {"name": "note", "type": "string"})
    assert release.main() == 1
    told = capsys.readouterr().err
    assert "Suppression cannot read version 1" in told
    assert "note" in told
    assert "default" in told
    assert (folder / "ids.yaml").read_text() == before
    assert not (folder / "history/Suppression/2.avsc").exists()


def test_better_words_need_no_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docs may be improved in place."""
    schema = copy.deepcopy(dict(versions.CURRENT["Suppression"]))
    schema["doc"] = "Better words."
    monkeypatch.setattr(versions, "CURRENT", {**versions.CURRENT, "Suppression": schema})
    assert list(release.unpublished()) == []
    assert list(compatibility.against_history("Suppression", schema)) == []
