"""The demo as its user runs it, and what an independent client finds in its topics afterwards."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import confluent_kafka
import fastavro
import pytest
import yaml

from agents.platform.local import LocalPlatform

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[3]
EVENTS = 10_000
PARTITIONS = 6


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `attune demo` with its data under `home`."""
    return subprocess.Popen(
        [sys.executable, "-m", "agents.cli.main", "demo", "--once", "--json", *arguments],
        cwd=ROOT,
        env={**os.environ, "ATTUNE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(demo: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the JSON object, the only thing on standard output."""
    out, errors = demo.communicate(timeout=180)
    assert out.count("\n") == 1, f"{out}\n{errors}"
    return demo.returncode, json.loads(out)


class Independent:
    """Reads topics with librdkafka and fastavro, knowing the published schemas and their ids alone."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        folder = ROOT / "schemas/avro"
        self._schemas: dict[int, Any] = {}
        for row in yaml.safe_load((folder / "ids.yaml").read_text()):
            path = folder / "history" / row["name"] / f"{row['version']}.avsc"
            self._schemas[row["id"]] = fastavro.parse_schema(json.loads(path.read_text()))

    def read(self, topic: str) -> Iterator[tuple[tuple[int, int, int], dict[str, Any]]]:
        """Yield position in the journal (partition, offset, index) and decoded value of every record."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": "independent", "enable.partition.eof": True}
        )
        tps = [confluent_kafka.TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
        consumer.assign(tps)
        ended: set[int] = set()
        try:
            while len(ended) < PARTITIONS:
                message = consumer.poll(10)
                assert message is not None, f"{topic}: nothing for ten seconds"
                if message.error():
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                    ended.add(message.partition())
                    continue
                magic, schema_id = struct.unpack(">bI", message.value()[:5])
                assert magic == 0
                stream = BytesIO(message.value()[5:])
                content = fastavro.schemaless_reader(stream, self._schemas[schema_id], None)
                assert not stream.read()
                position = dict(message.headers())["attune-position"].decode()
                partition, offset, index = map(int, position.split("/"))
                yield (partition, offset, index), content
        finally:
            consumer.close()


def test_it_plays_proves_and_leaves_what_it_says(tmp_path: Path) -> None:
    """One JSON object, the oracle held, and an independent client counts the same actions and suppressions.

    It also finds what must hold of them: no marketing proposed between start and lift of a suppression, nothing
    recalled that was not proposed, one reason for every candidate.
    """
    code, found = finish(start(tmp_path, "--events", str(EVENTS)))
    assert code == 0, found
    assert found["oracle"]["held"] is True
    assert found["interactions"] == EVENTS
    assert found["dead_letters"] == 0
    assert found["events_per_second"] > 0
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    platform = LocalPlatform(tmp_path / "demo")
    platform.start()
    try:
        client = Independent(platform.bootstrap)
        decisions = dict(client.read("crm.next-best-actions.v1"))
        holds = dict(client.read("crm.suppressions.v1"))
    finally:
        platform.stop()
    kinds = [decision["kind"] for decision in decisions.values()]
    assert kinds.count("PROPOSED") == found["actions"] > 0
    assert kinds.count("NO_ACTION") == found["no_action"]
    assert kinds.count("RECALLED") == found["recalled"]
    statuses = [hold["status"] for hold in holds.values()]
    assert statuses.count("STARTED") == found["suppressions"]["started"] > 0
    assert statuses.count("LIFTED") == found["suppressions"]["lifted"] > 0
    judge(decisions, holds)
    delivered = [json.loads(line) for line in (tmp_path / "demo/outbox.jsonl").read_text().splitlines()]
    assert len({line["decision_id"] for line in delivered}) == len(delivered) == found["delivered"]


def judge(decisions: dict[Any, dict[str, Any]], holds: dict[Any, dict[str, Any]]) -> None:
    """Check in the order of the journal what no output may break."""
    held: dict[str, int] = {}
    proposed: set[str] = set()
    for position in sorted({*decisions, *holds}):
        hold = holds.get(position)
        if hold is not None:
            held[hold["customer"]] = held.get(hold["customer"], 0) + (1 if hold["status"] == "STARTED" else -1)
            continue
        decision = decisions[position]
        named = [candidate["action_id"] for candidate in decision["candidates"]]
        assert len(set(named)) == len(named)
        if decision["kind"] == "PROPOSED":
            proposed.add(decision["decision_id"])
            assert decision["action_class"] != "MARKETING" or not held.get(decision["customer"])
            winners = [item["action_id"] for item in decision["candidates"] if item["reason"] == "SELECTED"]
            assert decision["action_id"] in winners
            factors = decision["factors"]
            product = factors["propensity"] * factors["context_weight"] * factors["value"] * factors["lever"]
            assert decision["priority"] == pytest.approx(product)
        elif decision["kind"] == "RECALLED":
            assert decision["recalls"] in proposed


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    """A forged output makes the oracle false and the exit code 1."""
    code, found = finish(start(tmp_path, "--events", "1000", "--plant-fault"))
    assert code == 1
    assert found["oracle"]["held"] is False
    assert found["oracle"]["counts"] == {"other_output": 1}


def test_a_killed_demo_leaves_nothing_running_and_can_be_played_again(tmp_path: Path) -> None:
    """SIGKILL in the middle ends platform and workers too; the next demo begins afresh and holds."""
    demo = start(tmp_path, "--events", "20000")
    state = tmp_path / "demo/platform/state.json"
    until((tmp_path / "demo/connector.json").exists, 60)
    servers = [json.loads(state.read_text())[name] for name in ("kafka_pid", "valkey_pid")]
    workers = children(demo.pid)
    assert len(workers) >= 6
    demo.send_signal(signal.SIGKILL)
    demo.communicate()
    until(lambda: not any(alive(pid) for pid in (*servers, *workers)), 30)
    code, found = finish(start(tmp_path, "--events", "1000"))
    assert code == 0
    assert found["oracle"]["held"] is True


def until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
