"""A policy is changed at two o'clock and rolled back at three, while interactions flow."""

import asyncio
from itertools import groupby
from pathlib import Path

import pytest

from agents import documents
from agents.settings import Settings
from schemas import headers as names
from schemas import topics
from schemas.codec import EMBEDDED
from tests.faults.harness import read_all
from tests.faults.main_job import ROOT, main_job

pytestmark = pytest.mark.kafka

PACK = (ROOT / "schemas/packs/retail.yaml").read_bytes()


async def test_a_policy_changed_in_mid_stream_and_rolled_back(tmp_path: Path) -> None:
    """Every partition decides by version 1, then 2, then 1 again, without a restart; a crash between moves nothing.

    The oracle folds the journal anew, so that each activation has one position for ever.
    """
    async with main_job(tmp_path, seed=11) as job:
        job.start_all()
        first = {role: worker.pid for role, worker in job.workers.items()}
        async with job.publishing(pace=800):
            await job.at_work()
            await asyncio.sleep(3)
            changed = PACK.replace(b"version: 1\n", b"version: 2\n", 1)
            await documents.publish(job.settings, "policy", changed, approved_by="ann")
            await asyncio.sleep(2)
            job.kill("fold")
            job.start("fold")
            await asyncio.sleep(3)
            back = await documents.roll_back(job.settings, "policy", to=None, approved_by="bob")
            assert (back.name, back.version) == ("retail", "1")
            await asyncio.sleep(4)
        for role in ("router", "coordinator"):
            assert job.workers[role].pid == first[role]
            assert job.workers[role].poll() is None
        await job.prove()
        by_partition = await decided(job.settings)
        assert len(by_partition) == 6
        for versions in by_partition.values():
            assert [version for version, _ in groupby(versions)] == ["1", "2", "1"]
        listed = await documents.versions(job.settings, "policy")
        assert [(one.version, len(one.approvals), one.approved_by, one.is_active) for one in listed] == [
            ("1", 2, "bob", True),
            ("2", 1, "ann", False),
        ]


async def decided(settings: Settings) -> dict[int, list[str]]:
    """Return the versions of the policy by journal partition, in the order of the journal."""
    found: dict[int, dict[names.Position, str]] = {}
    for record in await read_all(settings.kafka.bootstrap or "", topics.NEXT_BEST_ACTIONS):
        body = EMBEDDED.decode(record.value, "NextBestAction")
        if body["policy"] is not None:
            at = names.Position.parse(names.first(record.headers, names.POSITION) or b"")
            found.setdefault(at.partition, {})[at] = body["policy"]["version"]
    return {partition: [version for _, version in sorted(one.items())] for partition, one in found.items()}
