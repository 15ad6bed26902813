"""What deploy/ may say of Attune: its commands and its variables, asked of the program itself."""

from collections.abc import Mapping, Sequence

import pytest
from typer.testing import CliRunner

from agents import settings
from agents.cli.main import app
from agents.settings import Settings
from agents.workers import ROLES

VARIABLES = frozenset({"ATTUNE_SETTINGS_FILE", *(settings.variable(name) for name, _ in settings.names())})


def assert_command(arguments: Sequence[str]) -> None:
    """Fail where `attune` has no such command or role."""
    done = CliRunner().invoke(app, [*arguments, "--help"])
    assert done.exit_code == 0, f"attune {' '.join(arguments)}: {done.output}"
    assert "worker" not in arguments or arguments[-1] in ROLES, arguments


def settings_of(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a process with these variables; fail where Attune refuses them."""
    own = {name: value for name, value in environment.items() if name.startswith("ATTUNE_")}
    assert set(own) <= VARIABLES, set(own) - VARIABLES
    with monkeypatch.context() as patched:
        for name, value in own.items():
            patched.setenv(name, value)
        return settings.load()
