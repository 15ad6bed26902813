"""`attune publish` on a real broker: what goes out, what is refused, and what is said of it."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from agents.clients import kafka
from agents.settings import Settings, variable
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED, schema_id_of
from tests.agents.cli.conftest import Attune
from tests.schemas.registry_server import RegistryServer

pytestmark = pytest.mark.kafka


@pytest.fixture
def customer() -> str:
    """A customer whom no other test knows."""
    return f"loyalty:{uuid.uuid4().hex}"


def line(customer: str, event_id: str = "e1", **fields: Any) -> str:
    return json.dumps(
        {"key": customer, "type": "visit.made", "event_id": event_id, "occurred_at": int(time.time() * 1000), **fields}
    )


def published(settings: Settings, customer: str | None) -> list[Any]:
    """Return the retained interactions under a key, by partition and offset."""

    async def read() -> list[Any]:
        consumer = kafka.consumer(settings.kafka)
        await consumer.start()
        try:
            count = CATALOGUE.topics[topics.INTERACTIONS].partitions
            tps = [TopicPartition(topics.INTERACTIONS, number) for number in range(count)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            found = []
            for tp, end in (await consumer.end_offsets(tps)).items():
                while await consumer.position(tp) < end:
                    found += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
            return [record for record in found if record.key == (customer and customer.encode())]
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_a_file_goes_out_as_a_channel_publishes(
    connected: Settings, attune: Attune, tmp_path: Path, customer: str
) -> None:
    """Each line is one CloudEvent under the customer's key, in order; the result is one JSON object with --json."""
    personal = {"identifiers": {"email": "a@example.invalid"}}
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join([line(customer, "e1", channel="OUTLET"), "", line(customer, "e2", personal=personal)]))
    done = attune("publish", str(file), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["good"], found["bad"], found["published"], found["watermarks"]) == (2, 0, 2, 0)
    assert found["first_at"] <= found["last_at"]
    first, second = published(connected, customer)
    assert EMBEDDED.decode(first.value)["channel"] == "OUTLET"
    assert names.first(first.headers, names.TYPE) == b"attune.interaction.visit.made"
    assert names.first(second.headers, names.PERSONAL) == b"1"
    assert [EMBEDDED.decode(record.value)["event_id"] for record in (first, second)] == ["e1", "e2"]


def test_one_bad_line_keeps_all_from_being_published(connected: Settings, attune: Attune, customer: str) -> None:
    """Exit 1, every error with line and field, the first 20 and a count; nothing is sent."""
    lines = [line(customer), *[line(customer, channel="SHOP")] * 25, "nonsense"]
    done = attune("publish", "-", typed="\n".join(lines).encode())
    assert done.code == 1
    errors = [text for text in done.err.splitlines() if text.startswith("-: line ")]
    assert len(errors) == 20
    assert errors[0].startswith("-: line 2, channel: expected one of SALES_FORCE, OUTLET")
    assert "and 6 more errors" in done.err
    assert "26 bad lines, 1 good ones" in done.err
    assert "--skip-bad" in done.err
    assert published(connected, customer) == []


def test_skip_bad_publishes_the_good_ones(connected: Settings, attune: Attune, customer: str) -> None:
    """Exit 0; the bad lines are listed."""
    lines = [line(customer, "a"), "nonsense", line(customer, "b", occurred_at=5)]
    done = attune("publish", "-", "--skip-bad", "--json", typed="\n".join(lines).encode())
    assert done.code == 0
    found = json.loads(done.out)
    assert (found["published"], found["bad"]) == (1, 2)
    assert [(error["line"], error["field"]) for error in found["errors"]] == [(2, None), (3, "occurred_at")]
    assert len(published(connected, customer)) == 1


def test_an_undeclared_type_goes_out_with_a_warning(connected: Settings, attune: Attune, customer: str) -> None:
    """It is kept as a contact without meaning, so it is published; standard error names the nearest declared type."""
    done = attune("publish", "-", typed=line(customer, type="vist.made").encode())
    assert (done.code, done.out) == (0, "1 interactions published\n")
    assert "1 of the undeclared type vist.made, kept as contacts" in done.err
    assert "did you mean visit.made?" in done.err
    assert len(published(connected, customer)) == 1


def test_a_dry_run_needs_no_kafka(attune: Attune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the file is looked at: exit 0 for a good one, 1 for a bad one."""
    monkeypatch.setenv(variable("home"), str(tmp_path))
    done = attune("publish", "-", "--dry-run", typed=line("a:b").encode())
    assert (done.code, done.out) == (0, "1 interactions would be published; nothing was sent\n")
    refused = attune("publish", "-", "--dry-run", typed=b"x")
    assert (refused.code, refused.out) == (1, "")
    skipped = attune("publish", "-", "--skip-bad", typed=b"x")
    assert (skipped.code, skipped.out) == (0, "0 interactions published\n")
    assert attune("publish", "-", "--dry-run", typed=b"").code == 0


def test_the_pace_is_kept(connected: Settings, attune: Attune, customer: str) -> None:
    """Twenty interactions at fifty a second take at least a third of a second."""
    lines = "\n".join(line(customer, f"e{number}") for number in range(20)).encode()
    begun = time.monotonic()
    assert attune("publish", "-", "--pace", "50", typed=lines).code == 0
    assert time.monotonic() - begun > 0.35


def test_watermarks_only_where_the_journal_takes_its_clock_from_them(
    connected: Settings, attune: Attune, monkeypatch: pytest.MonkeyPatch, customer: str
) -> None:
    """Elsewhere the router would dead-letter them: wrong use. Then data may also lie in a year of its own."""
    future = line(customer, occurred_at="2031-01-01T00:00:00Z").encode()
    refused = attune("publish", "-", "--watermarks", typed=future)
    assert refused.code == 2
    assert "ATTUNE_JOURNAL__CLOCK=watermarks" in refused.err
    assert "absurd time, in the future" in attune("publish", "-", typed=future).err
    monkeypatch.setenv(variable("journal.clock"), "watermarks")
    before = len(published(connected, None))
    found = json.loads(attune("publish", "-", "--watermarks", "--json", typed=future).out)
    assert (found["published"], found["watermarks"]) == (1, 1)
    partitions = CATALOGUE.topics[topics.INTERACTIONS].partitions
    marks = published(connected, None)
    assert len(marks) == before + partitions
    assert {EMBEDDED.decode(mark.value)["body"]["partitions"] for mark in marks[-1:]} == {partitions}


async def test_a_registry_gives_its_ids(cluster: Settings, registry: RegistryServer, customer: str) -> None:
    """Where a registry is set, values bear its schema ids; one that is away is an error that says so."""
    environment = {
        variable("kafka.bootstrap"): cluster.kafka.bootstrap or "",
        variable("registry.url"): registry.url,
    }
    done = await attune_process(environment, line(customer))
    assert done.returncode == 0, done.stderr
    (record,) = await asyncio.to_thread(published, cluster, customer)
    (schema_id,) = registry.subjects[f"{topics.INTERACTIONS}-value"]
    assert schema_id_of(record.value) == schema_id > 100
    registry.fail_with = 503
    away = await attune_process(environment, line(customer))
    assert away.returncode == 1
    assert b"see that the registry runs" in away.stderr


@pytest.fixture
async def registry(connected: Settings) -> AsyncIterator[RegistryServer]:
    server = RegistryServer()
    async with server.running():
        yield server


async def attune_process(environment: dict[str, str], typed: str) -> Any:
    import os
    import subprocess
    import sys

    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "agents.cli.main", "publish", "-"],
        input=typed.encode(),
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_what_stands_in_the_way_is_told(attune: Attune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing file and a folder are wrong use; an absent broker and an absent platform are failures with a remedy."""
    monkeypatch.setenv(variable("home"), str(tmp_path))
    assert attune("publish", str(tmp_path / "none.jsonl")).code == 2
    assert attune("publish", str(tmp_path)).code == 2
    none = attune("publish", "-", typed=line("a:b").encode())
    assert none.code == 1
    assert "attune local up" in none.err
    monkeypatch.setenv(variable("kafka.bootstrap"), "127.0.0.1:9")
    away = attune("publish", "-", typed=line("a:b").encode())
    assert away.code == 1
    assert "kafka.bootstrap" in away.err
