"""`attune replay` beside what the live fold gave out, on a real broker."""

import asyncio
import datetime as dt
import io
import json
import signal
import time
from pathlib import Path
from typing import Any

import fastavro
import pytest

from agents.clients import kafka
from schemas import headers as names
from schemas import topics
from schemas.codec import decode_by_fingerprint
from tests.agents.history.recorded import OUTPUTS, Place, Recorded, Sent, in_order

pytestmark = pytest.mark.kafka


def place_of(line: dict[str, Any]) -> tuple[int, int, int]:
    """Return where a JSON line comes from; an interaction stands before its outputs."""
    return line["partition"], line["offset"], -1 if line["index"] is None else line["index"]


def from_container(content: bytes) -> list[tuple[Place, Sent]]:
    """Read an Avro container with fastavro, which knows nothing of replays."""
    return [
        (
            (row["partition"], row["offset"], row["index"]),
            (row["topic"], row["key"], row["value"], tuple((h["name"], h["value"]) for h in row["headers"])),
        )
        for row in fastavro.reader(io.BytesIO(content))
    ]


@pytest.mark.parametrize(("jobs", "batch"), [(1, 20_000), (2, 20_000), (2, 333), (1, 1)])
def test_it_gives_out_the_same_bytes_as_live(past: Recorded, tmp_path: Path, jobs: int, batch: int) -> None:
    """Every action and every suppression: key, value, headers and position, whatever the processes and batches.

    Poison, a producer's repetitions and a fold that was killed are in that past; nothing is missing or added, and the
    file is in the order of the journal.
    """
    file = tmp_path / "out.avro"
    report = past.attune("replay", "--to-file", str(file), "--jobs", str(jobs), "--batch", str(batch), "--json")
    found = from_container(file.read_bytes())
    assert dict(found) == past.live
    assert len(found) == len(past.live)
    assert in_order(place for place, _ in found)
    said = json.loads(report.stdout)
    assert said["given"] == len(past.live)
    assert said["read"] == len(past.journal)
    assert said["refused"] > 0
    assert list(tmp_path.iterdir()) == [file]


def test_a_topic_gets_what_live_topics_got(past: Recorded) -> None:
    """The same keys, values and headers, those of each customer in the same order; three partitions hold them."""
    past.create_topic("lab.decisions", 3)
    past.attune("replay", "--to-topic", "lab.decisions")
    found = past.read("lab.decisions")
    by_topic = {topic: past.read(topic) for topic in OUTPUTS}
    assert len(found) == len(past.live)
    for topic in OUTPUTS:
        ce_types = {names.first(record.headers, names.TYPE) for record in by_topic[topic]}
        for key in {record.key for record in by_topic[topic]}:
            live = list(dict.fromkeys(_sent(r) for r in by_topic[topic] if r.key == key))
            again = [_sent(r) for r in found if r.key == key and names.first(r.headers, names.TYPE) in ce_types]
            assert again == live
    assert len({(record.key, record.partition) for record in found}) == len({record.key for record in found})


def _sent(record: Any) -> tuple[Any, ...]:
    return record.key, record.value, tuple(record.headers)


def test_interactions_are_those_of_the_journal(past: Recorded, tmp_path: Path) -> None:
    """All of them, as they stand; as JSON the decoded record."""
    file = tmp_path / "events.avro"
    past.attune("replay", "--what", "interactions", "--to-file", str(file))
    events = [record for record in past.journal if dict(record.headers)[names.KIND] == b"interaction"]
    expected = [((r.partition, r.offset, -1), (topics.JOURNAL, r.key, r.value, tuple(r.headers))) for r in events]
    assert from_container(file.read_bytes()) == expected
    lines = past.lines("--what", "interactions")
    assert [place_of(line) for line in lines] == [place for place, _ in expected]
    for line, record in zip(lines, events, strict=True):
        assert {**line["value"], "personal": None} == {**decoded(record), "personal": None}


def decoded(record: Any) -> dict[str, Any]:
    """Return a journal record's interaction."""
    return decode_by_fingerprint(dict(record.headers)[names.SCHEMA].decode(), record.value, "Interaction")


def every(past: Recorded) -> list[dict[str, Any]]:
    """Return everything that a replay can give out."""
    return past.lines("--what", "actions,suppressions,interactions")


def test_each_choice_is_the_same_as_filtering_everything(past: Recorded) -> None:
    """By customer, channel, type, what, offsets, append time and event time, alone and together."""
    lines = every(past)
    events: dict[int, dict[int, dict[str, Any]]] = {}
    for record in past.journal:
        if dict(record.headers)[names.KIND] == b"interaction":
            events.setdefault(record.partition, {})[record.offset] = decoded(record)
    customer = next(line["key"] for line in lines if line["what"] == "suppression")
    other = next(line["key"] for line in lines if line["key"] != customer and line["what"] == "action")
    partition = next(line["partition"] for line in lines if line["key"] == customer)
    times = sorted(line["appended_at"] for line in lines)
    early, late = times[len(times) // 4], times[3 * len(times) // 4]
    born = sorted(event["occurred_at"] for rows in events.values() for event in rows.values())
    since, until = born[len(born) // 3], born[2 * len(born) // 3]

    def event(line: dict[str, Any]) -> dict[str, Any]:
        return events[line["partition"]][line["offset"]]

    all_what = ("--what", "actions,suppressions,interactions")
    cases: list[tuple[tuple[str, ...], Any]] = [
        (all_what, lambda line: True),
        (("--what", "suppressions"), lambda line: line["what"] == "suppression"),
        ((*all_what, "--customer", f"attune:{customer}"), lambda line: line["key"] == customer),
        (
            (*all_what, "--customer", customer, "--customer", other),
            lambda line: line["key"] in (customer, other),
        ),
        (
            ("--type", "bill.disputed", "--type", "dispute.resolved"),
            lambda line: event(line)["type"] in ("bill.disputed", "dispute.resolved") and line["what"] != "interaction",
        ),
        ((*all_what, "--channel", "outlet"), lambda line: event(line)["channel"] == "OUTLET"),
        ((*all_what, "--channel", "telephony"), lambda line: event(line)["channel"] == "TELEPHONY"),
        (
            (*all_what, "--partition", str(partition), "--from-offset", "200", "--to-offset", "399"),
            lambda line: line["partition"] == partition and 200 <= line["offset"] <= 399,
        ),
        ((*all_what, "--from", early, "--to", late), lambda line: early <= line["appended_at"] < late),
        (
            (*all_what, "--by", "event", "--from", rfc(since), "--to", rfc(until)),
            lambda line: since <= event(line)["occurred_at"] < until,
        ),
        (
            ("--what", "interactions", "--from", early, "--type", "purchase.made", "--customer", other),
            lambda line: (
                line["appended_at"] >= early
                and event(line)["type"] == "purchase.made"
                and line["key"] == other
                and line["what"] == "interaction"
            ),
        ),
    ]
    for arguments, chosen in cases:
        expected = [line for line in lines if chosen(line)]
        assert past.lines(*arguments) == expected, arguments
        assert expected or "telephony" in arguments, arguments


def rfc(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat()


def test_it_is_complete_and_without_doubles_after_any_death(past: Recorded, tmp_path: Path) -> None:
    """Killed with SIGKILL again and again, with a torn part or without a checkpoint: the file is that of one run."""
    whole, file, folder = (tmp_path / name for name in ("whole.jsonl", "out.jsonl", "work"))
    past.attune("replay", "--to-file", str(whole))
    again = ("replay", "--to-file", str(file), "--resume", str(folder), "--batch", "150", "--jobs", "2")
    for nth, marked in (("2", "0"), ("3", "1"), ("5", "1"), ("4", "1")):
        dead = past.start(nth, marked, *again, module="tests.agents.history.crashing_replay")
        dead.communicate(timeout=60)
        assert dead.returncode == -signal.SIGKILL
        assert not file.exists()
    marks = [json.loads(path.read_text()) for path in folder.glob("[0-9].json")]
    assert any(mark["given"] > 0 for mark in marks)
    assert not all(mark["done"] for mark in marks)
    said = json.loads(past.attune(*again, "--json").stdout)
    assert file.read_bytes() == whole.read_bytes()
    assert said["given"] == len(past.live)
    assert json.loads(past.attune(*again, "--json").stdout)["was_complete"]
    assert file.read_bytes() == whole.read_bytes()
    file.write_text("mine")
    assert "has 4 bytes" in past.attune(*again, code=1).stderr
    file.unlink()
    assert "is gone" in past.attune(*again, code=1).stderr


def test_ctrl_c_says_how_to_go_on(past: Recorded, tmp_path: Path) -> None:
    """It ends with 1, leaves no process behind, and the same command makes the whole file."""
    whole, file, folder = (tmp_path / name for name in ("whole.jsonl", "out.jsonl", "work"))
    again = ("replay", "--to-file", str(file), "--resume", str(folder), "--batch", "20")
    running = past.start(*again)
    until(lambda: (folder / "0.lock").exists() or (folder / "5.lock").exists())
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert f"--resume {folder}" in err
    past.attune(*again)
    past.attune("replay", "--to-file", str(whole))
    assert file.read_bytes() == whole.read_bytes()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def test_a_topic_gets_everything_after_a_death_and_positions_tell_what_came_twice(
    past: Recorded, tmp_path: Path
) -> None:
    """At least once: without the repetitions of a position it is what live topics got."""
    past.create_topic("lab.resumed", 2)
    again = ("replay", "--to-topic", "lab.resumed", "--resume", str(tmp_path / "work"), "--batch", "150", "--jobs", "1")
    for nth in ("3", "9"):
        dead = past.start(nth, "1", *again, module="tests.agents.history.crashing_replay")
        dead.communicate(timeout=60)
        assert dead.returncode == -signal.SIGKILL
    past.attune(*again)
    found: dict[Place, tuple[Any, ...]] = {}
    count = 0
    for record in past.read("lab.resumed"):
        count += 1
        place = tuple(names.Position.parse(names.first(record.headers, names.POSITION) or b""))
        assert found.setdefault(place, _sent(record)) == _sent(record)
    assert found == {place: sent[1:] for place, sent in past.live.items()}
    assert count > len(found)


def test_a_folder_of_another_replay_is_refused(past: Recorded, tmp_path: Path) -> None:
    """What is in a folder belongs to one question; another one, or other files there, are wrong use."""
    folder = tmp_path / "work"
    ask = ("--resume", str(folder), "--to-file")
    past.attune("replay", *ask, str(tmp_path / "a.jsonl"), "--what", "actions")
    other = past.attune("replay", *ask, str(tmp_path / "a.jsonl"), "--what", "suppressions", code=2)
    assert "holds another replay" in other.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("")
    full = past.attune("replay", "--resume", str(tmp_path / "full"), "--to-file", str(tmp_path / "b.jsonl"), code=2)
    assert "holds other files" in full.stderr


async def _cluster(recorded: Recorded) -> dict[str, Any]:
    """Return everything that live work could be disturbed in: groups, members, offsets, topics, ends."""
    admin = kafka.admin(recorded.settings.kafka)
    consumer = kafka.consumer(recorded.settings.kafka)
    await admin.start()
    await consumer.start()
    try:
        groups = sorted(group[0] for group in await admin.list_consumer_groups())
        committed = {
            group: sorted(
                (tuple(tp), meta.offset) for tp, meta in (await admin.list_consumer_group_offsets(group)).items()
            )
            for group in groups
        }
        described = await admin.describe_topics()
        tps = [(topic["topic"], part["partition"]) for topic in described for part in topic["partitions"]]
        from aiokafka import TopicPartition

        ends = await consumer.end_offsets([TopicPartition(*tp) for tp in tps if not tp[0].startswith("__")])
        configs = sorted((topic["topic"], len(topic["partitions"])) for topic in described)
        return {"groups": groups, "committed": committed, "topics": configs, "ends": ends}
    finally:
        await consumer.stop()
        await admin.close()


def test_live_work_is_not_disturbed(past: Recorded, tmp_path: Path) -> None:
    """Groups, committed offsets, topics and their ends are after replays and looks back what they were before.

    The one topic that was asked for has grown, nothing else.
    """
    past.create_topic("lab.undisturbed", 1)
    before = asyncio.run(_cluster(past))
    assert before["groups"]
    assert any(before["committed"].values())
    key = next(iter(past.live.values()))[1]
    assert key is not None
    past.attune("replay", "--to-file", str(tmp_path / "out.jsonl"))
    past.attune("replay", "--what", "interactions", "--json")
    past.attune("replay", "--dry-run", "--to-topic", "lab.undisturbed", "--resume", str(tmp_path / "never"))
    past.attune("as-of", key.decode(), "--json")
    past.attune("customer", "show", key.decode())
    assert not (tmp_path / "never").exists()
    assert asyncio.run(_cluster(past)) == before
    past.attune("replay", "--to-topic", "lab.undisturbed")
    after = asyncio.run(_cluster(past))
    grown = {tp.topic for tp, end in after["ends"].items() if end != before["ends"][tp]}
    assert grown == {"lab.undisturbed"}
    assert {**after, "ends": None} == {**before, "ends": None}


def test_a_dry_run_says_what_would_be_read(past: Recorded) -> None:
    """Partitions with their ranges, records, the approved documents; nothing is folded."""
    said = json.loads(past.attune("replay", "--dry-run", "--json", "--partition", "2", "--from-offset", "100").stdout)
    (row,) = said["partitions"]
    count = sum(record.partition == 2 for record in past.journal)
    assert row == {"partition": 2, "begin": 100, "end": count, "journal_end": count, "read": count}
    assert said["in_range"] == count - 100
    assert sorted((row["kind"], row["there"]) for row in said["documents"]) == [("MODEL", True), ("POLICY", True)]
    shown = past.attune("replay", "--dry-run").stdout
    assert f"{len(past.journal):,} records would be read" in shown
    assert "nothing was written" in shown


def test_it_reads_as_text(past: Recorded) -> None:
    """A line for each, in columns, with what was decided and why; how many there were stands on standard error."""
    done = past.attune("replay")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["journal", "event", "time", "customer", "what", "because"]
    assert len(rows) == len(past.live)
    for words in ("proposed", "no action", "started", "lifted", "dispute-receipt", "OPEN_DISPUTE"):
        assert words in done.stdout
    assert f"{len(past.live):,} given out to screen" in done.stderr


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("--to-topic", topics.NEXT_BEST_ACTIONS), 2, "is a live topic of Attune"),
    (("--to-topic", topics.JOURNAL), 2, "is a live topic of Attune"),
    (("--to-topic", "__consumer_offsets"), 2, "a topic of Kafka itself"),
    (("--to-topic", "lab.nowhere"), 2, "does not exist"),
    (("--from", "yesterday"), 2, "--from 'yesterday' is no time"),
    (("--from", "2026-01-31T09:15:00"), 2, "has no zone"),
    (("--from", "now", "--to", "2d ago"), 2, "is not before"),
    (("--from-offset", "5"), 2, "in one partition only"),
    (("--partition", "0", "--from-offset", "9", "--to-offset", "8"), 2, "is after --to-offset"),
    (("--partition", "0", "--from-offset", "99999999"), 2, "holds offsets 0 to"),
    (("--partition", "17"), 2, "has no partition 17"),
    (("--partition", "0", "--from-offset", "1", "--from", "now"), 2, "use one pair"),
    (("--what", "everything"), 2, "names everything"),
    (("--customer", "4711"), 2, "names no customer"),
    (("--resume", "work"), 2, "goes on with a file or a topic"),
    (("--from", "1960-01-01T00:00:00Z"), 2, "is before 1970"),
    (("--to-file", "new/"), 2, "names a folder"),
    (("--to-file", "/proc/out.jsonl"), 2, "nothing can be written into /proc"),
    (("--to-file", "out.jsonl", "--resume", "/proc/work"), 2, "cannot be worked in"),
    (("--customer", "email:nobody@example.invalid"), 1, "knows no customer"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_cannot_be_meant_is_told(past: Recorded, arguments: tuple[str, ...], code: int, words: str) -> None:
    """Exit 2 for wrong use, 1 for what the journal does not have; with what to do next, and nothing given out."""
    done = past.attune("replay", "--json", *arguments, code=code)
    assert words in done.stderr
    assert "next: " in done.stderr
    assert not done.stdout


def test_an_undeclared_type_is_noted(past: Recorded) -> None:
    """It may exist, so it is no error; the nearest declared one is named."""
    done = past.attune("replay", "--json", "--type", "bill.disputd")
    assert not done.stdout
    assert "did you mean bill.disputed?" in done.stderr


def test_a_file_that_exists_is_left_alone(past: Recorded, tmp_path: Path) -> None:
    """Exit 2, and its content stays."""
    file = tmp_path / "mine.jsonl"
    file.write_text("mine")
    assert "exists" in past.attune("replay", "--to-file", str(file), code=2).stderr
    assert file.read_text() == "mine"


def test_a_file_that_somebody_makes_meanwhile_is_left_alone(past: Recorded, tmp_path: Path) -> None:
    """Exit 2, its content stays, and the same command goes on once it is moved away."""
    file, work = tmp_path / "out.jsonl", tmp_path / "work"
    again = ("replay", "--to-file", str(file), "--resume", str(work))
    dead = past.start("2", "1", *again, "--batch", "150", module="tests.agents.history.crashing_replay")
    dead.communicate(timeout=60)
    file.write_text("mine")
    assert "was made by somebody else" in past.attune(*again, code=2).stderr
    assert file.read_text() == "mine"
    file.unlink()
    said = json.loads(past.attune(*again, "--json").stdout)
    assert said["given"] == len(past.live)
    assert len(file.read_text().splitlines()) == len(past.live)


def test_the_journal_must_be_whole(past: Recorded, tmp_path: Path) -> None:
    """Runs on another platform: where the first records are gone, or a document, exit 1 says so and what to do."""
    from tests.agents.history.broken import cut_journal, journal_without_document

    with cut_journal(tmp_path) as cut:
        done = cut.attune("replay", code=1)
        assert "records of crm.journal.v1/0 are gone" in done.stderr
        assert "restore the journal" in done.stderr
        assert len(cut.lines("--what", "interactions", "--partition", "0")) > 0
        with journal_without_document(cut) as missing:
            done = missing.attune("replay", "--partition", "1", code=1)
            assert "crm.journal.v1/1 cannot be folded beyond offset" in done.stderr
            assert "is active but not here" in done.stderr
            assert "publish it again" in done.stderr
