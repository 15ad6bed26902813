"""README and ARCHITECTURE are whole: no place left open, no link that leads nowhere, no command that does not exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from agents.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_is_left_open(name: str) -> None:
    """No line is a placeholder in capitals."""
    assert re.findall(r"^[A-Z]+_[A-Z_]+$", (ROOT / name).read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths_lead_somewhere(name: str) -> None:
    """Relative links, and paths of this repository in code marks, exist."""
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    folders = "schemas|streams|agents|deploy|tests"
    paths = [path for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", text) if not path.endswith(".")]
    assert links + paths
    missing = [path for path in links + paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_exist(name: str) -> None:
    """Every `attune <command>` that is named is one."""
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"^attune ([a-z-]+)|`attune ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE))
    assert {first or second for first, second in named} <= commands
