"""`attune policy check`: exit codes, places, JSON."""

import json
from pathlib import Path

from typer.testing import CliRunner

from agents.cli.main import app

PACK = Path(__file__).parents[3] / "schemas/packs/retail-thin.yaml"
RUNNER = CliRunner()


def test_a_good_pack_passes() -> None:
    """Exit 0, and what was found."""
    result = RUNNER.invoke(app, ["policy", "check", str(PACK)])
    assert result.exit_code == 0
    assert "retail-thin 1 is valid, 9 actions" in result.output


def test_a_bad_pack_fails_with_places(tmp_path: Path) -> None:
    """Exit 1; each line begins file:line:column, so that an editor can jump there."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        PACK.read_text().replace("customer.purchases >= 3", "customer.purchase >= 3").replace("lever:", "leaver:")
    )
    result = RUNNER.invoke(app, ["policy", "check", str(bad)])
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith(str(bad))]
    number = 1 + bad.read_text()[: bad.read_text().index("customer.purchase >=")].count("\n")
    assert any(line.startswith(f"{bad}:{number}:29: the field customer.purchase is not declared") for line in lines)
    assert sum("did you mean lever?" in line for line in lines) == 2


def test_json_lists_every_error(tmp_path: Path) -> None:
    """One object for scripts: ok, and errors with line, column, where, message, remedy."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\n")
    result = RUNNER.invoke(app, ["policy", "check", str(bad), "--json"])
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (1, False)
    assert {tuple(error) for error in found["errors"]} == {("line", "column", "where", "message", "remedy")}
    good = json.loads(RUNNER.invoke(app, ["policy", "check", str(PACK), "--json"]).stdout)
    assert good == {"file": str(PACK), "ok": True, "name": "retail-thin", "version": 1, "actions": 9, "errors": []}


def test_a_missing_file_is_wrong_use() -> None:
    """Exit 2."""
    assert RUNNER.invoke(app, ["policy", "check", "no-such-file.yaml"]).exit_code == 2


def test_variables_are_listed() -> None:
    """What a condition may refer to, with types."""
    result = RUNNER.invoke(app, ["policy", "variables"])
    assert "customer.churn_risk" in result.output
    listed = json.loads(RUNNER.invoke(app, ["policy", "variables", "--json"]).stdout)["variables"]
    assert {"name": "event.type", "type": "string", "says": "type of the trigger"} in listed
