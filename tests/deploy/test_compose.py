"""The compose file: what it says of Attune exists, and nothing but loopback is open."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.engine import app as engine_app
from agents.platform.jars import KAFKA_VERSION
from agents.workers import ROLES
from schemas.catalogue import CATALOGUE
from tests.deploy.commands import assert_command, settings_of
from tests.deploy.test_container import environment
from tests.deploy.tools import ALERTS, CONFIG, DEPLOY, tool

FILE = DEPLOY / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("attune:")}
SECRETS = ("ATTUNE_PRIVACY__SECRET", "ATTUNE_API__TOKEN", "VALKEY_PASSWORD", "GRAFANA_PASSWORD")


def test_every_role_is_a_service_and_its_command_exists() -> None:
    """Workers, API, exporter and the topics before them; the fold twice."""
    assert set(OURS) == {*ROLES, "api", "exporter", "topics"}
    for service in OURS.values():
        assert_command(service["command"])
    assert SERVICES["fold"]["deploy"]["replicas"] == 2
    assert OURS["topics"]["command"] == ["topics", "apply"]


@pytest.mark.parametrize("name", OURS)
def test_settings_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attune takes the variables of each of its services, with the image's, once the secrets are filled in."""
    filled = {
        variable: re.sub(r"\$\{\w+:\?[^}]*\}", "0123456789abcdef0123456789abcdef", text)
        for variable, text in SERVICES[name]["environment"].items()
    }
    found = settings_of(environment() | filled, monkeypatch)
    assert found.kafka.bootstrap == "kafka:9092"
    assert found.kafka.replication_factor == 1
    assert found.metrics.host == "0.0.0.0"
    assert found.api.token is None or name == "api"


def test_nothing_is_open_but_on_loopback() -> None:
    """Published ports are bound to 127.0.0.1; what has no port is in a network without a way out."""
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), (name, port)
        assert ("outside" in service["networks"]) == bool(service.get("ports")), name
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_images_are_pinned_and_kafka_is_the_one_that_tests_run() -> None:
    """No floating tag."""
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", service["image"]), name
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_secrets_come_from_outside() -> None:
    """No secret has a value or a default here; the example names each, empty."""
    text = FILE.read_text()
    for secret in SECRETS:
        assert re.search(rf"\$\{{{secret}:\?", text), secret
        assert not re.search(rf"\$\{{{secret}(:?-|\}})", text), secret
    example = (DEPLOY / "compose.env.example").read_text()
    assert set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE)) == set(SECRETS)


def test_services_start_in_order_are_watched_and_end_in_order() -> None:
    """Health, restarts, read-only roots, no capabilities, and more time to end than a worker takes."""
    for name, service in SERVICES.items():
        assert service["restart"] == ("on-failure" if name == "topics" else "unless-stopped")
        assert name in OURS or "healthcheck" in service, name
    for name, service in OURS.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert environment()["ATTUNE_HOME"] in [place.split(":")[0] for place in service["tmpfs"]]
        assert int(service["stop_grace_period"].removesuffix("s")) > engine_app._STOP_SECONDS
        waits = {other: rule["condition"] for other, rule in service["depends_on"].items()}
        if name == "topics":
            assert waits == {"kafka": "service_healthy"}
        else:
            assert waits == {"topics": "service_completed_successfully", "valkey": "service_healthy"}


def test_the_valkey_keeps_what_it_is_told() -> None:
    """Its file is append-only and on a volume: the keys of personal data are in it."""
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert "valkey:/data" in SERVICES["valkey"]["volumes"]


def test_what_is_mounted_is_there() -> None:
    """Files beside the compose file exist; volumes and configurations are declared."""
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], mount
        for config in service.get("configs", ()):
            assert config["source"] in COMPOSE["configs"]


def test_one_broker_can_keep_every_topic() -> None:
    """Internal topics of a single broker have one copy, and no topic is made by accident."""
    found = SERVICES["kafka"]["environment"]
    assert found["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert found["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == found["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "1"
    assert all(topic.replication > 1 for topic in CATALOGUE.topics.values())  # which is why the factor is overridden


@pytest.mark.prometheus
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    """promtool does, with the alerts; the jobs are those that alerts go by, on the image's port."""
    text = COMPOSE["configs"]["prometheus"]["content"]
    (tmp_path / "prometheus.yaml").write_text(text)
    (tmp_path / "alerts.yaml").write_text(ALERTS.read_text())
    command = [tool("promtool"), "check", "config", str(tmp_path / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    known = {job["job_name"] for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    assert set(jobs) == known - {"attune-connector"}  # which is none of the services
    port = int(environment()["ATTUNE_METRICS__PORT"])
    looked_up = [one for job in jobs.values() for one in job.get("dns_sd_configs", ())]
    assert {one["port"] for one in looked_up} == {port}
    assert {name for one in looked_up for name in one["names"]} == {*ROLES, "api"}
    assert jobs["attune-exporter"]["static_configs"] == [{"targets": [f"exporter:{port}"]}]
