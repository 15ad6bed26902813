"""The Helm chart, rendered by Helm itself: Kubernetes' schemas accept it, and what it says of Attune exists."""

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agents.acls import principals
from agents.engine import app as engine_app
from agents.topology import TOPOLOGY
from agents.workers import ROLES, WITH_REDIS
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.deploy.commands import assert_command, settings_of
from tests.deploy.test_container import environment
from tests.deploy.tools import ALERTS, DEPLOY

CHART = DEPLOY / "helm" / "attune"
CASES = ("least", "full")
VERSIONS = ("1.30", "1.37")
"""The oldest Kubernetes that Chart.yaml allows, and the newest whose schemas are here."""
CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
"""Kinds of operators, whose schemas Kubernetes does not have."""
SECRET = "0123456789abcdef0123456789abcdef"

Manifest = dict[str, Any]

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attune/helm"
"""Where .ci/helm builds it."""


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm; skip with the reason where there is none."""
    found = shutil.which("helm") or shutil.which("helm", path=str(_CACHE))
    if found is None:
        pytest.skip("no helm on the PATH: `.ci/helm` builds it")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False)


@functools.cache
def rendered(case: str) -> tuple[Manifest, ...]:
    """Return the manifests for a file of values in ci/."""
    done = helm("template", "attune", str(CHART), "--namespace", "crm", "-f", str(CHART / "ci" / f"{case}-values.yaml"))
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def refused(*values: str) -> str:
    """Return how Helm refuses values, given by --set on top of the least."""
    flags = [flag for value in values for flag in ("--set", value)]
    done = helm("template", "attune", str(CHART), "-f", str(CHART / "ci" / "least-values.yaml"), *flags)
    assert done.returncode != 0
    return done.stderr


def of_kind(case: str, *kinds: str) -> dict[str, Manifest]:
    """Return the manifests of some kinds by the names of their roles, or their own where they have none."""
    return {
        found["metadata"]["labels"].get("app.kubernetes.io/component", found["metadata"]["name"]): found
        for found in rendered(case)
        if found["kind"] in kinds
    }


def workloads(case: str) -> dict[str, Manifest]:
    """Return what runs, by role."""
    return of_kind(case, "Deployment", "StatefulSet", "Job")


def pod(workload: Manifest) -> Manifest:
    """Return the specification of a workload's pods."""
    found: Manifest = workload["spec"]["template"]["spec"]
    return found


def variables(workload: Manifest) -> dict[str, Any]:
    """Return the variables of a workload's only container: texts, or where they come from."""
    (container,) = pod(workload)["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def selects(selector: Mapping[str, str], workload: Manifest) -> bool:
    """Tell whether a selector matches a workload's pods."""
    return selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def selected(case: str, selector: Mapping[str, str]) -> set[str]:
    """Return the roles that a selector matches."""
    return {role for role, workload in workloads(case).items() if selects(selector, workload)}


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_of(case: str) -> None:
    """`helm lint --strict`: the values fit their schema, everything that is rendered is YAML."""
    done = helm("lint", "--strict", str(CHART), "-f", str(CHART / "ci" / f"{case}-values.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_accepts_every_manifest(case: str, version: str) -> None:
    """By its own schemas, with no field that they do not know; only operators' kinds are left out."""
    unchecked = set()
    for manifest in rendered(case):
        if manifest["kind"] in CUSTOM:
            unchecked.add(manifest["kind"])
        else:
            kubernetes_validate.validate(manifest, version, strict=True)
    assert unchecked == (CUSTOM if case == "full" else set())


@pytest.mark.parametrize("case", CASES)
def test_every_role_runs_and_its_command_exists(case: str) -> None:
    """Workers, API, exporter and the job that makes topics; the fold with a name that stays."""
    found = workloads(case)
    assert set(found) == {*ROLES, "api", "exporter", "topics"}
    for workload in found.values():
        (container,) = pod(workload)["containers"]
        assert_command(container["args"])
    assert {role for role, workload in found.items() if workload["kind"] == "StatefulSet"} == {"fold"}
    instance = variables(found["fold"])["ATTUNE_WORKER__INSTANCE"]
    assert instance == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["fold"]["spec"]["serviceName"] in of_kind(case, "Service")


@pytest.mark.parametrize("role", [*ROLES, "api", "exporter", "topics"])
@pytest.mark.parametrize("case", CASES)
def test_settings_are_accepted(case: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attune takes attune.toml and the variables of each container, once the secrets are filled in."""
    workload = workloads(case)[role]
    (volume,) = (one for one in pod(workload)["volumes"] if one["name"] == "settings")
    configs = {one["metadata"]["name"]: one for one in rendered(case) if one["kind"] == "ConfigMap"}
    file = tmp_path / "attune.toml"
    file.write_text(configs[volume["configMap"]["name"]]["data"]["attune.toml"])
    secrets = {"ATTUNE_REDIS__URL": f"rediss://:{SECRET}@redis.crm.svc:6379/0"}
    filled = {
        name: text if isinstance(text, str) else secrets.get(name, SECRET) for name, text in variables(workload).items()
    }
    assert Path(filled["ATTUNE_SETTINGS_FILE"]).name == "attune.toml"
    filled["ATTUNE_SETTINGS_FILE"] = str(file)
    found = settings_of(environment() | filled, monkeypatch)
    assert found.kafka.bootstrap == "crm-kafka-bootstrap.kafka.svc:9093"
    assert found.kafka.security_protocol == ("PLAINTEXT" if role == "api" else "SASL_SSL")
    assert (found.kafka.ssl_cafile is not None) == (case == "full" and role != "api")
    assert (found.redis.url is not None) == (role in {*WITH_REDIS, "api"})
    assert (found.privacy.secret is not None) == (role in {"router", "api"})
    assert (found.api.token is not None) == (role == "api")
    assert found.worker.max_batch_records == (4000 if case == "full" else 2000)


@pytest.mark.parametrize("case", CASES)
def test_each_role_has_the_user_whose_rights_attune_generates(case: str) -> None:
    """Names and Secrets are those of `attune acls`; the API has none, since it needs no Kafka."""
    for role, workload in workloads(case).items():
        found = variables(workload)
        if role == "api":
            assert "ATTUNE_KAFKA__SASL_USERNAME" not in found
            continue
        user = principals()["deployer" if role == "topics" else role].removeprefix("User:")
        assert found["ATTUNE_KAFKA__SASL_USERNAME"] == user
        assert found["ATTUNE_KAFKA__SASL_PASSWORD"] == {"secretKeyRef": {"name": user, "key": "password"}}


@pytest.mark.parametrize("case", CASES)
def test_pods_may_nothing_that_they_need_not(case: str) -> None:
    """No root, no writing but to memory and scratch, no token, no variables of Kubernetes, time to drain."""
    for role, workload in workloads(case).items():
        found = pod(workload)
        assert found["securityContext"]["runAsNonRoot"] is True
        assert found["securityContext"]["runAsUser"] >= 10_000
        assert found["automountServiceAccountToken"] is False
        assert found["enableServiceLinks"] is False  # else ATTUNE_..._PORT, which Attune refuses
        (container,) = found["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
        assert writable == {variables(workload)["ATTUNE_HOME"], "/tmp"}
        if role != "topics":
            assert found["terminationGracePeriodSeconds"] > engine_app._STOP_SECONDS
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
            assert found["topologySpreadConstraints"]


def test_probes_ask_what_answers() -> None:
    """Workers are asked for their metrics on the port that they serve them on; the API for its health and readiness."""
    for role, workload in workloads("least").items():
        if role == "topics":
            continue
        (container,) = pod(workload)["containers"]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert str(ports["metrics"]) == variables(workload)["ATTUNE_METRICS__PORT"]
        asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("liveness", "readiness")}
        assert all(one["port"] in ports for one in asked.values())
        paths = [one["path"] for one in asked.values()]
        assert paths == (["/healthz", "/readyz"] if role == "api" else ["/metrics", "/readyz"])
    assert variables(workloads("least")["api"])["ATTUNE_API__PORT"] == "8080"


@pytest.mark.parametrize("case", CASES)
def test_every_role_is_guarded(case: str) -> None:
    """Each has one disruption budget and one network policy of its own."""
    running = set(workloads(case)) - {"topics"}
    budgets = of_kind(case, "PodDisruptionBudget")
    assert set(budgets) == running
    for role, budget in budgets.items():
        assert selected(case, budget["spec"]["selector"]["matchLabels"]) == {role}
    policies = of_kind(case, "NetworkPolicy")
    assert set(policies) == {*running, "topics"}
    for role, policy in policies.items():
        assert selected(case, policy["spec"]["podSelector"]["matchLabels"]) == {role}
        assert all(rule["ports"] for rule in (*policy["spec"]["ingress"], *policy["spec"]["egress"]))


def test_only_who_needs_a_place_may_reach_it() -> None:
    """The API reaches no broker, folds no Redis, only the router a registry."""
    policies = of_kind("full", "NetworkPolicy")
    open_ports = {
        role: {one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]} - {53}
        for role, policy in policies.items()
    }
    assert open_ports == {
        "router": {9093, 6379, 8081},
        "fold": {9093},
        "coordinator": {9093},
        "views": {9093, 6379},
        "api": {6379},
        "exporter": {9093},
        "topics": {9093},
    }


def test_scaling_goes_by_lag_and_ends_at_the_partitions() -> None:
    """Each scaled role by its own group's seconds behind; it then has no number of replicas that would fight KEDA's."""
    scaled = of_kind("full", "ScaledObject")
    assert set(scaled) == {"router", "fold", "views"}
    groups = {agent.name: agent.group for agent in TOPOLOGY}
    for role, found in scaled.items():
        target = found["spec"]["scaleTargetRef"]
        workload = workloads("full")[role]
        assert (target["kind"], target["name"]) == (workload["kind"], workload["metadata"]["name"])
        assert "replicas" not in workload["spec"]
        assert found["spec"]["maxReplicaCount"] == 12
        (trigger,) = found["spec"]["triggers"]
        assert trigger["metadata"]["query"] == f'max(kafka_consumergroup_lag_seconds{{consumergroup="{groups[role]}"}})'
    assert not of_kind("least", "ScaledObject")
    partitions = yaml.safe_load((CHART / "values.yaml").read_text())["partitions"]
    assert {CATALOGUE.topics[name].partitions for name in (topics.INTERACTIONS, topics.JOURNAL)} == {partitions}


def test_alerts_are_those_of_the_repository() -> None:
    """The rule holds deploy/prometheus/alerts.yaml, word for word."""
    (rule,) = (found for found in rendered("full") if found["kind"] == "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())


def test_prometheus_finds_every_role_under_the_job_that_alerts_go_by() -> None:
    """The monitor's Services cover all pods, each under one job, named as in the alerts."""
    (monitor,) = (found for found in rendered("full") if found["kind"] == "ServiceMonitor")
    label = monitor["spec"]["jobLabel"]
    jobs: dict[str, set[str]] = {}
    for service in (found for found in rendered("full") if found["kind"] == "Service"):
        labels = service["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
        jobs[labels[label]] = selected("full", service["spec"]["selector"])
    assert jobs == {"attune-worker": set(ROLES), "attune-api": {"api"}, "attune-exporter": {"exporter"}}
    named = set(re.findall(r'job="([^"]+)"', ALERTS.read_text()))
    assert named <= set(jobs)


def test_topics_are_made_before_anything_starts() -> None:
    """The job and its own settings are hooks, the settings first."""
    hooks = [found for found in rendered("least") if "helm.sh/hook" in found["metadata"].get("annotations", {})]
    marks = {found["kind"]: found["metadata"]["annotations"] for found in hooks}
    assert set(marks) == {"ConfigMap", "Job"}
    assert {mark["helm.sh/hook"] for mark in marks.values()} == {"pre-install,pre-upgrade"}
    assert int(marks["ConfigMap"]["helm.sh/hook-weight"]) < int(marks["Job"]["helm.sh/hook-weight"])


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_made(case: str) -> None:
    """Secrets are referred to; one among the settings is refused, since it would stand in a ConfigMap."""
    assert not of_kind(case, "Secret")
    assert "settings/privacy" in refused(f"settings.privacy.secret={SECRET}")
    assert "settings/kafka/sasl_password" in refused("settings.kafka.sasl_password=x")


@pytest.mark.parametrize(
    "missing",
    ["settings.kafka.bootstrap", "redis.existingSecret.name", "privacy.existingSecret.name", "api.existingSecret.name"],
)
def test_what_must_be_given_is_named(missing: str) -> None:
    """Helm says which value is missing."""
    assert f"{missing} must be given" in refused(f"{missing}=")


def test_mistakes_are_refused() -> None:
    """More members than partitions, too little time to drain, a misspelled value."""
    assert "there are 6 partitions" in refused("fold.replicas=7")
    assert "terminationGracePeriodSeconds" in refused(f"terminationGracePeriodSeconds={int(engine_app._STOP_SECONDS)}")
    assert "replica" in refused("fold.replica=3")


def test_every_value_is_used_and_described() -> None:
    """Each value of values.yaml is in its schema, and templates use it and no other."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    text = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.(\w+)", text)) | {"router", "fold", "coordinator", "views", "api", "exporter"}
    assert used == set(values)


def test_the_chart_is_of_this_release() -> None:
    """Its appVersion, the image's tag, is the project's version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (version,) = re.findall(r'^version = "(.+)"$', (DEPLOY.parent / "pyproject.toml").read_text(), re.MULTILINE)
    assert chart["appVersion"] == version
    (container,) = pod(workloads("least")["fold"])["containers"]
    assert container["image"] == f"attune:{version}"
