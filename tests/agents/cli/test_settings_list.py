"""`attune settings`: every setting, its value and its source, nothing secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents import settings
from tests.agents.cli.conftest import Attune


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def listed(out: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(out)["settings"]}


def test_every_setting_is_listed_with_its_source(
    attune: Attune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Default, file and environment, the later overriding the earlier; the file is named."""
    file = tmp_path / "own.toml"
    file.write_text('log_level = "DEBUG"\n[kafka]\nbootstrap = "file:9092"\n[worker]\ncommit_seconds = 2\n')
    monkeypatch.setenv("ATTUNE_SETTINGS_FILE", str(file))
    monkeypatch.setenv("ATTUNE_KAFKA__BOOTSTRAP", "environment:9092")
    done = attune("settings", "--json")
    assert done.code == 0
    rows = listed(done.out)
    assert list(rows) == [name for name, _ in settings.names()]
    assert rows["kafka.bootstrap"] == {
        "name": "kafka.bootstrap",
        "variable": "ATTUNE_KAFKA__BOOTSTRAP",
        "default": None,
        "value": "environment:9092",
        "source": "ATTUNE_KAFKA__BOOTSTRAP",
        "description": "host:port[,host:port]; none means the embedded platform",
    }
    assert (rows["worker.commit_seconds"]["value"], rows["worker.commit_seconds"]["source"]) == (2.0, str(file))
    assert (rows["log_level"]["value"], rows["log_level"]["default"]) == ("DEBUG", "INFO")
    assert (rows["home"]["value"], rows["home"]["source"]) == (".attune", "default")


def test_it_reads_as_text(attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting a line where there is no terminal."""
    monkeypatch.setenv("ATTUNE_LOG_LEVEL", "DEBUG")
    out = attune("settings").out
    assert "log_level = DEBUG  (environment; default INFO; ATTUNE_LOG_LEVEL)\n" in out
    assert len(out.splitlines()) == len(list(settings.names()))


def test_secrets_are_masked(attune: Attune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Secrets, and passwords in addresses, are shown in no form; also where another setting is wrong."""
    (tmp_path / "attune.toml").write_text('[registry]\ntoken = "s3cret-file"\n')
    monkeypatch.setenv("ATTUNE_PRIVACY__SECRET", "s3cret" * 8)
    monkeypatch.setenv("ATTUNE_REDIS__URL", "rediss://ann:s3cret@host:6379/0")
    for wrong in (False, True):
        if wrong:
            monkeypatch.setenv("ATTUNE_PRIVACY__SECRET", "s3cret")
            monkeypatch.setenv("ATTUNE_LOG_LEVEL", "LOUD")
        for arguments in ((), ("--json",)):
            done = attune("settings", *arguments)
            assert done.code == (2 if wrong else 0)
            assert "s3cret" not in done.out + done.err
            assert "rediss://ann:********@host:6379/0" in done.out
    rows = listed(attune("settings", "--json").out)
    assert rows["registry.token"]["value"] == rows["privacy.secret"]["value"] == "********"
    assert rows["registry.password"]["value"] is None


def test_a_wrong_setting_is_told_beside_the_list(attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint of every other command leads here, so the list comes, and then what is wrong: exit 2."""
    monkeypatch.setenv("ATTUNE_KAFKA__BOOTSTRP", "x")
    done = attune("settings")
    assert done.code == 2
    assert "kafka.bootstrap = -" in done.out
    assert "did you mean ATTUNE_KAFKA__BOOTSTRAP?" in done.err
    assert "did you mean" in json.loads(attune("settings", "--json").out)["error"]


@pytest.mark.parametrize("url", ["redis://:s3cret@[::1", "redis://:s3cret/x@host:6379/0", "http://:s3cret@x"])
def test_an_address_that_is_none_shows_no_password(attune: Attune, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Exit 2 with the variable; what cannot be taken apart is masked whole."""
    monkeypatch.setenv("ATTUNE_REDIS__URL", url)
    done = attune("settings")
    assert done.code == 2
    assert "ATTUNE_REDIS__URL: " in done.err
    assert "s3cret" not in done.out + done.err


def test_a_section_that_is_no_json(attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 with the variable, beside the list."""
    monkeypatch.setenv("ATTUNE_KAFKA", "{bad")
    done = attune("settings")
    assert done.code == 2
    assert done.err.startswith("attune: ATTUNE_KAFKA: ")
    assert "log_level = INFO" in done.out
