"""`attune policy check`: exit codes, places, JSON."""

import json
from pathlib import Path

import pytest
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


@pytest.mark.parametrize(("field", "says"), [("lever", "1 error\n"), ("title", "9 errors\n")])
def test_the_summary_counts_errors_and_nothing_else(tmp_path: Path, field: str, says: str) -> None:
    """Whoever only checks a pack hears nothing of publishing."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(PACK.read_text().replace(f"{field}:", f"x{field}:", 1 if field == "lever" else -1))
    result = RUNNER.invoke(app, ["policy", "check", str(bad)])
    assert (result.exit_code, result.stderr) == (1, says)


@pytest.mark.parametrize(
    "version", ["9" * 5_000, "!!int abc", "!!int ''", '"\\UFFFFFFFF"', "[" * 3_000, "\x07"], ids=lambda text: text[:12]
)
def test_whatever_stands_in_a_field_has_a_place(tmp_path: Path, version: str) -> None:
    """Exit 1 with the line, never a traceback: numbers without end, words that are none, characters that are none."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(PACK.read_text().replace("version: 1\n", f"version: {version}\n", 1))
    line = 1 + PACK.read_text()[: PACK.read_text().index("version: 1\n")].count("\n")
    result = RUNNER.invoke(app, ["policy", "check", str(bad)])
    assert (result.exit_code, result.stderr) == (1, "1 error\n")
    assert result.stdout.startswith(f"{bad}:{line}:")


def test_a_model_is_checked_without_a_cluster(tmp_path: Path) -> None:
    """Exit 0, or 1 with every error and its place; JSON for scripts."""
    good = next((PACK.parents[1] / "models").glob("*.json"))
    result = RUNNER.invoke(app, ["model", "check", str(good)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "is valid, " in result.stdout
    bad = tmp_path / "model.json"
    bad.write_text(good.read_text().replace('"intercept":', f'"intercept": {"9" * 5_000}, "colour":', 1))
    result = RUNNER.invoke(app, ["model", "check", str(bad)])
    assert (result.exit_code, result.stderr) == (1, "1 error\n")
    assert result.stdout.startswith(f"{bad}: intercept: inf is no number to compute with")
    found = json.loads(RUNNER.invoke(app, ["model", "check", str(bad), "--json"]).stdout)
    assert (found["ok"], len(found["errors"])) == (False, 1)


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
