"""`attune doctor` as a test runs it: with settings as variables, and what it found by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from agents.cli.main import app
from agents.settings import KafkaSettings, Settings, variable

SECRET = "0123456789abcdef0123456789abcdef"
_KAFKA = ("bootstrap", "security_protocol", "sasl_mechanism", "sasl_username", "ssl_cafile", "replication_factor")


def variables(cluster: Settings, kafka: KafkaSettings | None = None) -> dict[str, str]:
    """Return the variables that say the same as settings."""
    connection = cluster.kafka if kafka is None else kafka
    found = {variable(f"kafka.{name}"): getattr(connection, name) for name in _KAFKA}
    if connection.sasl_password is not None:
        found[variable("kafka.sasl_password")] = connection.sasl_password.get_secret_value()
    found[variable("redis.url")] = cluster.redis.url
    found[variable("home")] = cluster.home
    found[variable("privacy.secret")] = SECRET
    return {name: str(value) for name, value in found.items() if value is not None}


def doctor(environment: Mapping[str, str], *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run it and return its findings by their names; its exit code must be that of what it found."""
    done = CliRunner().invoke(app, ["doctor", "--json", *arguments], env=dict(environment), catch_exceptions=False)
    report = json.loads(done.stdout)
    failed = [one for one in report["checks"] if one["status"] == "failed"]
    assert (report["ok"], done.exit_code) == (not failed, 1 if failed else 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in report["checks"]:
        assert one["found"]
        if one["status"] in ("warning", "failed"):
            assert one["why"], one
            assert one["remedy"], one
        found.setdefault(one["name"], []).append(one)
    return found


def only(found: Mapping[str, list[dict[str, Any]]], name: str, status: str) -> dict[str, Any]:
    """Return the one finding of a check, which must have a status."""
    (one,) = found[name]
    assert one["status"] == status, one
    return one


def failures(found: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Return what failed, by the names of checks."""
    failed = {name: [one["found"] for one in ones if one["status"] == "failed"] for name, ones in found.items()}
    return {name: told for name, told in failed.items() if told}


def at(home: Path) -> Settings:
    """Return settings of a machine without any server."""
    return Settings(home=home)
