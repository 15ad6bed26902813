"""Prometheus and promtool, where this machine has them, and what deploy/ holds."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
ALERTS_TEST = DEPLOY / "prometheus" / "alerts_test.yaml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yaml"
DASHBOARD = DEPLOY / "grafana" / "attune.json"
RUNBOOK = DEPLOY / "runbook"

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attune/prometheus/usr/bin"
"""Where .ci/prometheus puts Debian's package."""
_NAME = re.compile(r"\b(?:attune|kafka|process)_[a-z0-9_]+|\bup\b")
_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def tool(name: str) -> str:
    """Return the path of prometheus or promtool; skip with the reason where there is none."""
    found = shutil.which(name) or shutil.which(name, path=str(_CACHE))
    if found is None:
        pytest.skip(f"no {name} on the PATH: `.ci/prometheus` fetches it")
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels() -> dict[str, dict[str, Any]]:
    """Return the panels of the dashboard by title, rows left out."""
    return {panel["title"]: panel for panel in dashboard()["panels"] if panel["type"] != "row"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions() -> dict[str, str]:
    """Return every expression of alerts and dashboard by where it stands."""
    found = {f"alert {name}": rule["expr"] for name, rule in alerts().items()}
    for title, panel in panels().items():
        found |= {f"panel {title} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def names(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', "", expression)))


def family(name: str) -> str:
    """Return the name without what a histogram adds to it."""
    return _HISTOGRAM.sub("", name)
