"""`attune topology`: prints, writes and checks the drawing."""

import json
from pathlib import Path

import pytest

from agents.cli.topology import BEGIN, END
from agents.topology import TOPOLOGY, draw
from tests.agents.cli.conftest import Attune


def test_it_prints_the_drawing(attune: Attune) -> None:
    """The Mermaid chart, or with --json who reads and writes what."""
    assert attune("topology").out == draw() + "\n"
    agents = json.loads(attune("topology", "--json").out)["agents"]
    assert [agent["name"] for agent in agents] == [agent.name for agent in TOPOLOGY]


def test_it_replaces_what_is_between_the_markers(attune: Attune, tmp_path: Path) -> None:
    """Stale before, fresh after, and nothing else of the file is touched; writing again changes nothing."""
    file = tmp_path / "ARCHITECTURE.md"
    file.write_text(f"# Head\n\n{BEGIN}\nold\n{END}\n\ntail\n")
    stale = attune("topology", "--check", "--file", str(file))
    assert stale.code == 1
    assert "`attune topology --write`" in stale.err
    assert json.loads(attune("topology", "--check", "--json", "--file", str(file)).out)["stale"] is True
    assert attune("topology", "--write", "--file", str(file)).code == 0
    assert file.read_text() == f"# Head\n\n{BEGIN}\n{draw()}\n{END}\n\ntail\n"
    assert attune("topology", "--check", "--file", str(file)).code == 0
    written = attune("topology", "--write", "--json", "--file", str(file))
    assert json.loads(written.out) == {"file": str(file), "stale": False, "written": False}


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_without_markers_nothing_is_written(attune: Attune, tmp_path: Path, text: str) -> None:
    """Each marker must stand there once, in order: exit 1, naming both."""
    file = tmp_path / "ARCHITECTURE.md"
    file.write_text(text)
    done = attune("topology", "--write", "--file", str(file))
    assert done.code == 1
    assert BEGIN in done.err
    assert END in done.err
    assert file.read_text() == text


def test_wrong_use(attune: Attune, tmp_path: Path) -> None:
    """--write with --check is exit 2; a missing file exit 1."""
    assert attune("topology", "--write", "--check").code == 2
    missing = attune("topology", "--check", "--file", str(tmp_path / "none.md"))
    assert missing.code == 1
    assert "--file" in missing.err
