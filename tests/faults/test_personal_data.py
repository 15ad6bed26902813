"""A run leaves nothing personal behind but in the topic that producers write: every byte of every file is searched."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from agents.settings import variable
from schemas import topics
from tests.faults.main_job import PERSONAL, MainJob, main_job

pytestmark = pytest.mark.kafka

ROLES = ("router", "fold", "views")


async def test_nothing_personal_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs at DEBUG, metrics, keys, states, views, dead letters of every kind, after death amid a batch.

    Searched are the data of Kafka (records are not compressed) and of Valkey, logs, homes, and what commands print.
    """
    monkeypatch.setenv(variable("metrics.port"), "0")
    monkeypatch.setenv(variable("log_level"), "DEBUG")
    async with main_job(tmp_path, seed=13) as job:
        job.start_all()
        job.start("views")
        async with job.publishing(pace=400):
            await job.at_work()
            await asyncio.sleep(2)
            for role in ("router", "fold"):
                job.kill(role)
                job.start(role)
            await asyncio.sleep(8)
        report = await job.prove()
        assert report["dead"] > 5
        assert report["refused"] > 0
        said = tmp_path / "said"
        said.mkdir()
        for role in ROLES:
            (said / f"{role}.metrics").write_text(await metrics(job, role))
        for command in (["dlq", "list"], ["lag", "--no-watch"], ["views", "check"], ["prove"], ["topics", "check"]):
            (said / f"{'-'.join(command)}.json").write_text(str(await job.attune(*command, "--json")))
        assert job.platform is not None
        job.stop()
        job.platform.stop()  # Valkey writes down what it holds
        in_the_clear = [path for path in files(tmp_path) if path.parent.name.startswith(f"{topics.INTERACTIONS}-")]
        for needle in PERSONAL:
            assert any(needle in path.read_bytes() for path in in_the_clear), f"nothing was published with {needle!r}"
        found = [
            f"{needle!r} in {path.relative_to(tmp_path)}"
            for path in files(tmp_path)
            if path not in in_the_clear
            for needle in PERSONAL
            if needle in path.read_bytes()
        ]
        assert not found, found


async def metrics(job: MainJob, role: str) -> str:
    """Return what a worker tells Prometheus."""
    address = re.search(r"metrics on (http://[^\s\"]+)", job.log(role))
    assert address is not None, job.log(role)
    async with httpx.AsyncClient() as client:
        page = (await client.get(address[1])).text
    assert "attune_" in page
    return page


def files(folder: Path) -> list[Path]:
    """Return every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
