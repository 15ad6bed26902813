"""What stands under deploy/prometheus and deploy/runbook: valid, complete, and in step with one another."""

import re
import subprocess
from typing import Any

import pytest
import typer.main
import yaml

from agents.cli.main import app
from tests.deploy import tools


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tools.DEPLOY / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.prometheus
def test_rules_and_configuration_are_valid() -> None:
    """Promtool finds every rule and nothing wrong, and the example configuration loads them."""
    said = run(tools.tool("promtool"), "check", "rules", str(tools.ALERTS))
    assert f"SUCCESS: {len(tools.alerts())} rules found" in said
    said = run(tools.tool("promtool"), "check", "config", str(tools.CONFIG))
    assert "1 rule files found" in said


@pytest.mark.prometheus
def test_alerts_fire_when_they_should() -> None:
    """Promtool plays every story of alerts_test.yaml: labels, texts, and how long an alert waits."""
    assert "SUCCESS" in run(tools.tool("promtool"), "test", "rules", str(tools.ALERTS_TEST))


def test_no_alert_is_without_a_story() -> None:
    """Every alert has a moment at which it fires and one at which it does not."""
    fires: set[str] = set()
    quiet: set[str] = set()
    for story in yaml.safe_load(tools.ALERTS_TEST.read_text())["tests"]:
        for moment in story["alert_rule_test"]:
            (fires if moment["exp_alerts"] else quiet).add(moment["alertname"])
    assert fires == quiet == set(tools.alerts())


def test_every_alert_says_what_to_do() -> None:
    """It has a severity, a summary, a description and a page; and every page belongs to an alert."""
    pages = {path.stem for path in tools.RUNBOOK.glob("*.md")}
    assert pages == set(tools.alerts())
    for name, rule in tools.alerts().items():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"deploy/runbook/{name}.md"


@pytest.mark.parametrize("name", sorted(tools.alerts()))
def test_a_page_of_the_runbook(name: str) -> None:
    """It says what the alert means, how to look, what to do and when it is over; commands and links of it exist."""
    text = (tools.RUNBOOK / f"{name}.md").read_text()
    assert re.findall("^#+ .*$", text, re.MULTILINE) == [
        f"# {name}",
        "## What it means",
        "## Look",
        "## Do",
        "## Over when",
    ]
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (tools.RUNBOOK / target).exists(), target
    for command in re.findall(r"(?:^|`)(attune [^`#\n]+)", text, re.MULTILINE):
        words = command.split()[1:]
        options = _options(words)
        for word in words:
            assert not word.startswith("--") or word in options, command


def test_metrics_that_the_runbook_names_are_those_of_alerts_and_dashboard_or_near() -> None:
    """A page sends nobody to look for a metric that is named nowhere in the code."""
    code = "\n".join(path.read_text() for path in (tools.DEPLOY.parent / "agents").rglob("*.py"))
    for page in tools.RUNBOOK.glob("*.md"):
        for name in re.findall(r"attune_[a-z_]+", page.read_text()):
            assert name.removesuffix("_total") in code, f"{page.name}: {name}"


def _options(words: list[str]) -> set[str]:
    """Return the options of a command of Attune; fail where there is no such command."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command = command.commands[words.pop(0)]
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
