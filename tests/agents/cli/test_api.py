"""`attune api` as a process: it serves, says where, and ends on SIGTERM; what it must not do it refuses."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from agents.settings import variable
from tests.agents.cli.conftest import Attune
from tests.conftest import Redis

ROOT = Path(__file__).parents[3]


@pytest.mark.kafka
def test_it_serves_without_kafka(valkey: Redis, tmp_path: Path) -> None:
    """Redis alone is needed; health answers, and no log line has the path of a request."""
    environment = {
        **os.environ,
        variable("home"): str(tmp_path),
        variable("redis.url"): valkey.url,
        variable("kafka.bootstrap"): "127.0.0.1:1",
        variable("privacy.secret"): "0123456789abcdef0123456789abcdef",
        variable("log_level"): "DEBUG",
        variable("metrics.port"): "0",
        variable("api.redis_seconds"): "0.99",
    }
    log = tmp_path / "api.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "agents.cli.main", "api", "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 90
        while not (found := re.search(r"served on (http://\S+?)/v1", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with httpx.Client(base_url=found[1], timeout=10) as client:
            assert client.get("/healthz").json() == {"status": "alive"}
            assert client.get("/v1/customers/loyalty:somebody-known").status_code in (404, 503)
            assert client.get("/openapi.json").json()["info"]["title"] == "Attune views"
        metrics = re.search(r"metrics on (http://[^\s\"]+)", log.read_text())
        assert metrics is not None
        page = httpx.get(metrics[1], timeout=10).text
        assert 'attune_api_request_seconds_count{route="/healthz",status="200"} 1.0' in page
        assert 'attune_process_info{role="api"' in page
        process.terminate()
        assert process.wait(20) in (0, -15)
    finally:
        process.kill()
        process.wait()
    assert "/v1/customers/{key:path}" in log.read_text()
    assert "somebody-known" not in log.read_text()


def test_an_open_address_needs_a_token(attune: Attune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit 2 with the remedy; so does a token that is too short to be one."""
    monkeypatch.setenv(variable("home"), str(tmp_path))
    monkeypatch.setenv(variable("redis.url"), "redis://127.0.0.1:1/0")
    done = attune("api", "--host", "0.0.0.0")
    assert done.code == 2
    assert "loopback only" in done.err
    assert "ATTUNE_API__TOKEN" in done.err
    monkeypatch.setenv(variable("api.token"), "short")
    done = attune("api", "--host", "0.0.0.0")
    assert done.code == 2
    assert "at least 16 characters" in done.err


def test_its_help_has_an_example(attune: Attune) -> None:
    """An address to ask."""
    assert "/v1/customers/" in attune("api", "--help").out
