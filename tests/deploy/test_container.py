"""The image: what the Containerfile copies is there, what it says exists, and the locks are those of the project."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agents import metrics
from agents.platform import process
from agents.settings import MetricsSettings
from tests.deploy.commands import VARIABLES, assert_command
from tests.deploy.tools import DEPLOY

ROOT = DEPLOY.parent
CONTAINER = DEPLOY / "container"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile, continued lines joined."""
    lines = [line for line in (CONTAINER / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def all_of(word: str) -> list[str]:
    """Return what the instructions of a kind say."""
    return [rest for name, rest in instructions() if name == word]


def environment() -> dict[str, str]:
    """Return what ENV sets in the last stage."""
    return dict(pair.split("=", 1) for pair in shlex.split(all_of("ENV")[-1]))


def pins(file: Path) -> dict[str, str]:
    """Return the versions in a lock by package."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", file.read_text(), re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    """Return the packages that requirements name."""
    return {re.split(r"[^A-Za-z0-9._-]", text)[0].lower().replace("_", "-") for text in requirements}


def test_what_is_copied_is_there_and_not_ignored() -> None:
    """Every COPY from the repository finds its source, and .dockerignore lets it through."""
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [source for rest in all_of("COPY") if "--from" not in rest for source in rest.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in shown), source
    assert (ROOT / ".containerignore").read_text() == (ROOT / ".dockerignore").read_text()


def test_the_image_is_no_root_and_ends_in_order() -> None:
    """A numeric user, SIGTERM, one pinned Python that the project supports, in both stages."""
    (user,) = all_of("USER")
    uid, _, gid = user.partition(":")
    assert min(int(uid), int(gid)) >= 10_000
    assert all_of("STOPSIGNAL") == ["SIGTERM"]
    (python,) = re.findall(r"PYTHON=python:(\d+)\.(\d+)\.\d+-slim-\w+$", all_of("ARG")[0])
    assert tuple(map(int, python)) >= (3, 11)
    assert all(rest.startswith("${PYTHON}") for rest in all_of("FROM"))


def test_what_the_image_says_of_attune_exists() -> None:
    """Variables are settings, the command is one of ours, the health check is a file of the image."""
    own = {name for name in environment() if name.startswith("ATTUNE_")}
    assert own <= VARIABLES
    assert all_of("ENTRYPOINT") == ['["attune"]']
    assert all_of("CMD") == ['["--help"]']
    assert_command([])
    (check,) = all_of("HEALTHCHECK")
    assert "/opt/attune/healthcheck.py" in check
    assert "deploy/container/healthcheck.py /opt/attune/healthcheck.py" in all_of("COPY")
    assert {environment()["ATTUNE_METRICS__PORT"], "8080"} == set(all_of("EXPOSE")[0].split())


@pytest.mark.parametrize("serving", [True, False])
def test_the_health_check_tells_who_serves_metrics(serving: bool) -> None:
    """It ends with 0 where the page is there, with 1 and a word where nothing listens."""
    port = process.free_port()
    command = [sys.executable, "-I", str(CONTAINER / "healthcheck.py")]
    setting = MetricsSettings(port=port if serving else None)
    with metrics.served(setting, "fold", registry=CollectorRegistry()):
        done = subprocess.run(
            command, env={"ATTUNE_METRICS__PORT": str(port)}, capture_output=True, text=True, check=False
        )
    assert done.returncode == (0 if serving else 1), done.stderr
    assert serving == (not done.stderr)


def test_the_locks_are_the_projects_own() -> None:
    """The image has the versions that tests ran with, every dependency, no tools, hashes throughout."""
    whole, image, build = (
        pins(ROOT / "requirements.lock"),
        pins(CONTAINER / "requirements.lock"),
        pins(CONTAINER / "build.lock"),
    )
    assert image.items() <= whole.items()
    assert build.items() <= whole.items()
    assert names(PROJECT["project"]["dependencies"]) <= set(image)
    optional = [text for group in PROJECT["project"]["optional-dependencies"].values() for text in group]
    apart = names(optional) | names(PROJECT["dependency-groups"]["dev"])
    assert not apart & set(image)
    wanted = [line for line in (CONTAINER / "build.in").read_text().splitlines() if not line.startswith("#")]
    assert wanted == PROJECT["build-system"]["requires"]
    for lock in ("requirements.lock", "build.lock"):
        text = (CONTAINER / lock).read_text()
        assert "://" not in text
        for name, block in re.findall(r"^([a-z0-9-]+)==(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL):
            assert "--hash=sha256:" in block, name


def test_the_wheel_has_the_documents(tmp_path: Path) -> None:
    """What the image installs carries the catalogue, the schemas, packs and models, and no tests."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "schemas/catalogue.yaml",
        "schemas/avro/Interaction.avsc",
        "schemas/packs/retail.yaml",
        "schemas/models/retail-activity-1.json",
        "agents/cli/main.py",
    } <= inside
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"schemas", "streams", "agents", "attune_streams"}
