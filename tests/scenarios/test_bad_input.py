"""Bad input amid good, end to end: real broker, router and fold as processes, dead letters, the oracle.

What a sender can do wrong straight in Kafka, past `attune publish`: nothing stops, nothing is lost, nothing good
suffers, and each dead letter says what was wrong and gives back the bytes that were sent.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from agents.clients import kafka
from agents.inbound.publisher import headers_of
from agents.ops import topics as topic_admin
from agents.platform.local import LocalPlatform
from agents.settings import KafkaSettings, variable
from schemas import headers as names
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.deadletter import VALUE_LIMIT
from tests.streams.journal import interaction

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
PARTITIONS = CATALOGUE.topics[topics.INTERACTIONS].partitions
DAY_MS = 86_400_000
NOW_MS = int(time.time() * 1000)


class Message(NamedTuple):
    """A message as a channel sends it."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def partition(self) -> int:
        return zlib.crc32(self.key or b"") % PARTITIONS


class Bad(NamedTuple):
    """A message that must become a dead letter of that topic for that reason."""

    message: Message
    letter: str
    reason: str


def event(kind: str, event_id: str, **fields: Any) -> dict[str, Any]:
    return interaction(kind, **{"event_id": event_id, "occurred_at": NOW_MS - DAY_MS, "source": "shop", **fields})


def message(customer: str, made: dict[str, Any], **changes: Any) -> Message:
    sent = Message(customer.encode(), EMBEDDED.encode("Interaction", made), headers_of({**made, "occurred_at": NOW_MS}))
    return sent._replace(**changes)


def good(number: int) -> Message:
    """Return the purchases of three customers, one after another, sound in various ways."""
    made = event("purchase.made", f"good-{number}", amount_minor=1_000, currency="EUR")
    if number % 4 == 1:
        made["personal"] = {"identifiers": {}, "fields": {"name": "Ann"}}
    sent = message(f"loyalty:{number % 3}", made)
    if number % 4 == 0:
        nulls = [(names.TIME, None), (names.SUBJECT, None), (names.PERSONAL, None), ("own", None)]
        return sent._replace(headers=[*nulls, *sent.headers, (names.TRACEPARENT, b"none")])
    forgotten = [header for header in sent.headers if header[0] != names.PERSONAL]
    return sent._replace(headers=forgotten) if number % 8 == 1 else sent


def control(body: dict[str, Any]) -> bytes:
    return EMBEDDED.encode("Control", {"body": body})


def bad_messages() -> dict[str, Bad]:
    """Return one of each kind, all under keys of customers who also send good ones."""
    visit = event("visit.made", "bad")
    value = EMBEDDED.encode("Interaction", visit)
    personal = event("visit.made", "bad", personal={"identifiers": {"email": "a@example.invalid"}, "fields": {}})
    sealed = message("loyalty:0", personal)
    assert sealed.value is not None
    mark = [(names.TYPE, names.WATERMARK.encode())]

    def fold(kind: str, reason: str, **fields: Any) -> Bad:
        return Bad(message("loyalty:1", event(kind, "bad", **fields)), "journal", reason)

    def router(reason: str, **changes: Any) -> Bad:
        return Bad(message("loyalty:0", visit, **changes), "interactions", reason)

    return {
        "unknown schema id": router("schema id 4711 is not known", value=b"\0" + (4711).to_bytes(4, "big") + value[5:]),
        "no Avro at all": router("not in Confluent wire format", value=b'{"type": "visit.made"}'),
        "no value": router("no value", value=None),
        "empty value": router("0 bytes, too few", value=b""),
        "another type": router("the value is a Control; only an Interaction", value=control({"time": NOW_MS})),
        "truncated, with a personal block": Bad(sealed._replace(value=sealed.value[:-9]), "interactions", "breaks off"),
        "no key": router("no key", key=None),
        "key without namespace": router("neither `namespace:value`", key=b"4711"),
        "key that is not UTF-8": router("not UTF-8", key=b"loyalty:\xff"),
        "over the size limit": router(
            "bytes, more than the 256000 allowed", value=value + b"x" * (300_000 - len(value))
        ),
        "a header without end": router(
            "header ce_source has 5000 bytes", headers=[*headers_of(visit), (names.SOURCE, b"x" * 5_000)]
        ),
        "null headers, and names that are ours": router(
            "no value",
            value=None,
            headers=[
                (names.SOURCE, None),
                ("own", None),
                ("attune-dlq-truncated", b"x"),
                ("__connect.errors.stage", b"x"),
            ],
        ),
        "truncated, with a block that no header tells of": Bad(
            sealed._replace(value=sealed.value[:-9], headers=sealed.headers[:-1]), "interactions", "breaks off"
        ),
        "a tick of a producer": router("only a Watermark", value=control({"time": NOW_MS}), headers=mark),
        "truncated": router("breaks off", value=value[: len(value) // 2]),
        "bytes behind the record": router("2 bytes follow", value=value + b"xy"),
        "absurdly old": fold("visit.made", "before the year 2000", occurred_at=NOW_MS // 1000),
        "absurdly far ahead": fold(
            "visit.made", "days ahead of the partition's clock", occurred_at=NOW_MS + 400 * DAY_MS
        ),
        "no type": fold("", "type or event_id is empty"),
        "texts without end": fold("visit.made", "at most 2048 are kept", touchpoint="x" * 5_000),
        "dispute of nothing": fold("bill.disputed", "no reference"),
        "consent to nothing": fold("consent.given", "no attribute purpose"),
        "purchase without a price": fold("purchase.made", "no amount_minor"),
        "purchase in another currency": fold(
            "purchase.made", "a sum of two currencies", amount_minor=5, currency="USD"
        ),
    }


class Job:
    """Router and fold as processes on a platform of their own, and commands beside them."""

    def __init__(self, platform: LocalPlatform, directory: Path) -> None:
        self.kafka = KafkaSettings(bootstrap=platform.bootstrap)
        self.environment = {
            variable("kafka.bootstrap"): platform.bootstrap,
            variable("kafka.replication_factor"): "1",
            variable("redis.url"): platform.redis_url,
            variable("home"): str(directory / "home"),
            variable("privacy.secret"): "0123456789abcdef0123456789abcdef",
            variable("journal.clock"): "watermarks",
        }
        self._directory = directory
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, role: str) -> None:
        with (self._directory / f"{role}.log").open("wb") as log:
            self._workers.append(subprocess.Popen(_command("worker", role), env=self._whole, stdout=log, stderr=log))

    def stop(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(15)
            if worker.poll() is None:
                worker.kill()
                worker.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process."""
        return subprocess.run(_command(*arguments), env=self._whole, capture_output=True, text=True, check=False)

    def here(self, *arguments: str) -> bytes:
        """Run a command in this process, which is quicker, and return what it printed."""
        result = CliRunner().invoke(app, arguments, env=self.environment)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.stdout_bytes

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2_000:]}" for path in self._directory.glob("*.log"))

    @property
    def _whole(self) -> Mapping[str, str]:
        return {**os.environ, **self.environment}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "agents.cli.main", *arguments]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    platform = LocalPlatform(tmp_path / "platform")
    platform.start()
    running = Job(platform, tmp_path)
    try:
        asyncio.run(_make_topics(running))
        yield running
    finally:
        running.stop()
        platform.stop()
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)


async def _make_topics(job: Job) -> None:
    admin = kafka.admin(job.kafka)
    await admin.start()
    try:
        await topic_admin.apply(admin, CATALOGUE, replication=1)
    finally:
        await admin.close()


async def _send(job: Job, messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Publish a watermark, which says what time it is, and then messages; return partition and offset of each."""
    producer = kafka.producer(job.kafka)
    await producer.start()
    try:
        mark = control({"time": NOW_MS, "partitions": PARTITIONS})
        for partition in range(PARTITIONS):
            headers = [(names.TYPE, names.WATERMARK.encode())]
            await producer.send_and_wait(topics.INTERACTIONS, mark, partition=partition, headers=headers)
        places = []
        for key, value, own in messages:
            partition = zlib.crc32(key or b"") % PARTITIONS
            sent = await producer.send_and_wait(
                topics.INTERACTIONS, value, key=key, partition=partition, headers=list(own)
            )
            places.append((partition, sent.offset))
        return places
    finally:
        await producer.stop()


def test_bad_input_costs_nothing_but_itself(job: Job) -> None:
    """Good ones count once, each bad one is a dead letter with its reason and its bytes, and the oracle holds."""
    for role in ("router", "fold"):
        job.start(role)
    bad = bad_messages()
    messages: list[Message] = []
    for number, item in enumerate(bad.values()):
        messages += [good(number), item.message]
    undeclared = message("loyalty:2", event("fridge.opened", "undeclared", attributes={"door": "left"}))
    messages += [undeclared, good(0), good(len(bad))]  # the second is a repetition by its producer
    places = asyncio.run(_send(job, messages))
    origins = dict(zip(bad, places[1::2], strict=False))

    proof = job.run("prove", "--wait", "30", "--json")
    assert proof.stdout, f"{proof.stderr}\n{job.logs()}"
    report = json.loads(proof.stdout)
    assert (proof.returncode, report["held"]) == (0, True), f"{report}\n{job.logs()}"
    assert report["unfolded"] == 0
    per_topic = [sum(item.letter == topic for item in bad.values()) for topic in ("interactions", "journal")]
    assert [report["dead"], report["refused"]] == per_topic

    listed = json.loads(job.here("dlq", "list", "--json"))
    assert listed["total"] == len(bad)
    letters = {_origin(job, letter): letter for letter in listed["letters"]}
    for name, item in bad.items():
        letter = letters[origins[name]]
        assert letter["id"].startswith(f"{item.letter}/"), name
        assert re.search(re.escape(item.reason), letter["reason"]), (name, letter["reason"])
        _gives_back(job, letter, item.message)

    for customer in range(3):
        found = json.loads(job.here("customer", "show", f"loyalty:{customer}", "--json"))
        numbers = range(customer, len(bad) + 1, 3)
        assert found["purchases"]["frequency"] == len(numbers)
        assert found["purchases"]["spend_minor"] == 1_000 * len(numbers)
        assert found["counts"]["events"] == len(numbers) + (customer == 2)
        assert found["counts"]["duplicates"] == (customer == 0)
        assert found["open_disputes"] == []
        kept = [contact for contact in found["recent_contacts"] if contact["type"] == "fridge.opened"]
        assert [contact["attributes"] for contact in kept] == ([{"door": "left"}] if customer == 2 else [])


def _origin(job: Job, letter: Mapping[str, Any]) -> tuple[int, int]:
    """Return partition and offset of the interaction that a letter goes back to."""
    where = letter["origin"]
    if where["topic"] == topics.INTERACTIONS:
        return where["partition"], where["offset"]
    shown = json.loads(job.here("dlq", "show", letter["id"], "--json"))
    _, partition, offset = dict(shown["headers"])[names.ORIGIN].rsplit("/", 2)
    return int(partition), int(offset)


def _gives_back(job: Job, letter: Mapping[str, Any], sent: Message) -> None:
    """See that key, value and headers are those that were sent; of a very long value the beginning."""
    shown = json.loads(job.here("dlq", "show", letter["id"], "--json"))
    if sent.value is None:
        assert shown["value_base64"] is None
    else:
        assert letter["truncated"] == (len(sent.value) if len(sent.value) > VALUE_LIMIT else None)
        assert job.here("dlq", "show", letter["id"], "--raw") == sent.value[:VALUE_LIMIT]
    if letter["id"].startswith("interactions/"):
        if sent.key is None or sent.key.isascii():
            assert shown["key"] == (sent.key.decode() if sent.key is not None else None)
        assert [name for name, _ in shown["headers"]] == [name for name, _ in sent.headers]
