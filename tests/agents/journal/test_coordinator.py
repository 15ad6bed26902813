"""The coordinator: what becomes an activation in every partition, and what is passed over."""

import asyncio
import dataclasses
import functools
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.clients import kafka
from agents.journal.coordinator import Coordinator
from agents.journal.documents import Documents
from agents.journal.placement import placement
from agents.journal.publish import Document, check, conflict, publish_document
from agents.ops import topics as topic_admin
from agents.settings import Settings
from schemas import topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from schemas.errors import InvalidRecord
from tests.streams.journal import MODEL, PACK

PARTITIONS = 3
POLICY = check("policy", PACK)
APPROVAL: dict[str, Any] = {
    "kind": "POLICY",
    "name": POLICY.name,
    "version": POLICY.version,
    "sha256": POLICY.sha256,
    "sequence": -1,
    "approved_by": "ann",
    "approved_at": 0,
}


@dataclasses.dataclass
class Record:
    value: bytes | None
    offset: int = 0
    key: bytes | None = None
    topic: str = topics.APPROVALS
    partition: int = 0


class Approvals:
    """Returns records at the first poll, nothing from then on."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = list(records)
        self.commits = 0
        self.read = asyncio.Event()

    async def getmany(self, *, timeout_ms: int) -> dict[Any, list[Record]]:
        if not self._records:
            self.read.set()
            await asyncio.Event().wait()
        found, self._records = self._records, []
        return {"approvals": found}

    async def commit(self) -> None:
        self.commits += 1


class Producer:
    """Keeps what was sent."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self._error = error

    async def send_and_wait(self, _: str, value: bytes, *, partition: int, headers: Any) -> None:
        if self._error is not None:
            raise self._error
        self.sent.append((partition, EMBEDDED.decode(value, "Control")["body"]))


def library(*raw: bytes) -> Any:
    """Return what finds these documents."""
    documents = Documents()
    for found in raw:
        documents.add(found)

    async def find(sha256: str) -> bytes | None:
        return documents.get(sha256)

    return find


def approval(**changes: Any) -> bytes:
    return EMBEDDED.encode("Control", {"body": {**APPROVAL, **changes}})


def coordinator(approvals: Any, *, producer: Any = None, find: Any = None, **options: Any) -> Coordinator:
    return Coordinator(
        journal=topics.JOURNAL,
        partitions=PARTITIONS,
        producer=producer or Producer(),
        approvals=approvals,
        find=find or library(PACK, MODEL),
        **{"tick_seconds": None, **options},
    )


async def coordinate(*values: bytes | None, find: Any = None) -> tuple[Coordinator, Producer]:
    """Let a coordinator work through approvals; returns it and what it sent."""
    approvals = Approvals([Record(value, offset) for offset, value in enumerate(values)])
    producer = Producer()
    made = coordinator(approvals, producer=producer, find=find)
    work = asyncio.ensure_future(made.run())
    done, _ = await asyncio.wait(
        [work, waiting := asyncio.ensure_future(approvals.read.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    waiting.cancel()
    for ended in done - {waiting}:
        await ended
    work.cancel()
    await asyncio.wait([work])
    assert approvals.commits == 1
    return made, producer


async def test_an_approval_becomes_an_activation_in_every_partition() -> None:
    """Its sequence is the approval's offset; the document is there before."""
    made, producer = await coordinate(approval())
    assert [partition for partition, _ in producer.sent] == list(range(PARTITIONS))
    assert all(body == {**APPROVAL, "sequence": 0} for _, body in producer.sent)
    assert (made.activated, made.passed_over) == (1, 0)


async def test_a_version_of_logic_is_activated_like_a_document() -> None:
    """It has no document; its version is what counts."""
    made, producer = await coordinate(approval(kind="LOGIC", name="logic", version="1", sha256=""))
    assert [partition for partition, _ in producer.sent] == list(range(PARTITIONS))
    assert {(body["kind"], body["version"]) for _, body in producer.sent} == {("LOGIC", "1")}
    assert made.activated == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "no value"),
        (b"", "too few for the frame"),
        (b"garbage that is no message", "not in Confluent wire format"),
        (b"\0\0\0\0\0\xff\xff", "schema"),
        (EMBEDDED.encode("Control", {"body": {"time": 1}}), "tick or a watermark; only `attune policy publish`"),
        (approval(sha256="abc"), "not 64 hex digits; publish the document with `attune policy publish FILE"),
        (approval(sha256=POLICY.sha256.upper()), "not 64 hex digits"),
        (approval(sha256="0" * 64), "no document has its sha256 0{64}; publish the document again"),
        (approval(kind="MODEL"), "cannot read its document as a model: .*correct it and publish it with `attune model"),
        (approval(version="9"), "names 'retail-thin' version '9' and its document is retail-thin version"),
        (approval(name="other"), "names 'other'"),
        (approval(kind="LOGIC", sha256="", version="99"), "logic '99' and this release knows 1: folds that do not"),
    ],
)
async def test_what_cannot_be_activated_is_passed_over(
    value: bytes | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It reaches no partition, is logged with its offset, the reason and what to do, and the next one is activated."""
    with caplog.at_level(logging.ERROR):
        made, producer = await coordinate(value, approval())
    assert {body["sequence"] for _, body in producer.sent} == {1}
    assert (made.activated, made.passed_over) == (1, 1)
    (line,) = caplog.messages
    assert line.startswith(f"approval {topics.APPROVALS}/0/0 passed over: ")
    assert re.search(says, line), line


@pytest.mark.parametrize(("kind", "raw"), [("POLICY", b"\xff\0garbage"), ("MODEL", b"[" * 20_000), ("MODEL", b"")])
async def test_a_document_that_is_garbage(kind: str, raw: bytes) -> None:
    """Bytes that are no document never become active, whatever was approved."""
    digest = Document(kind, "x", "1", raw).sha256
    made, producer = await coordinate(approval(kind=kind, sha256=digest), find=library(raw))
    assert (producer.sent, made.passed_over) == ([], 1)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("policy", b"version: 1\n", b"version: " + b"9" * 5_000 + b"\n"),
        ("policy", b"version: 1\n", b"version: 0x" + b"f" * 5_000 + b"\n"),
        ("policy", b"version: 1\n", b'version: !!int ""\n'),
        ("policy", b"version: 1\n", b"version: 1\ndescription: " + b"[" * 20_000 + b"\n"),
        ("policy", b"version: 1\n", b'version: 1\ndescription: "\\UFFFFFFFF"\n'),
        ("model", b'"version": "1"', b'"version": ' + b"9" * 5_000),
        ("model", b'"version": "1"', b'"version": "\\ud800"'),
        ("model", b'"version": "1"', b'"version": ' + b"[" * 900 + b"]" * 900),
    ],
)
async def test_a_document_whose_numbers_or_nesting_have_no_end(
    kind: str, good: bytes, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed over with a word on what is wrong; the coordinator goes on to the next approval."""
    right = PACK if kind == "policy" else MODEL
    raw = right.replace(good, bad, 1)
    assert raw != right
    digest = Document(kind, "x", "1", raw).sha256
    made, producer = await coordinate(
        approval(kind=kind.upper(), sha256=digest), approval(), find=library(raw, PACK, MODEL)
    )
    assert (made.activated, made.passed_over, {body["sequence"] for _, body in producer.sent}) == (1, 1, {1})
    assert f"cannot read its document as a {kind}" in caplog.messages[0]


@pytest.mark.parametrize(
    "error", [ValueError("v"), OverflowError("o"), RecursionError("r"), KeyError("k"), MemoryError()]
)
@pytest.mark.parametrize("stage", ["read_policy", "Plan"])
async def test_a_document_that_no_reader_foresaw(
    stage: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it makes the fold's own reading raise, it is passed over, and the error is named."""

    def fail(_: Any) -> Any:
        raise error

    monkeypatch.setattr(f"agents.journal.publish.{stage}", fail)
    logic = approval(kind="LOGIC", name="logic", version="1", sha256="")
    made, _ = await coordinate(approval(), logic)
    assert (made.activated, made.passed_over) == (1, 1)
    assert f"cannot read its document as a policy: {type(error).__name__}" in caplog.messages[0]


@given(st.lists(st.one_of(st.none(), st.binary(max_size=60)), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_bytes_stop_it(values: list[bytes | None]) -> None:
    """Whatever stands in the approvals, the next approval is activated."""
    made, _ = asyncio.run(coordinate(*values, approval()))
    assert (made.activated, made.passed_over) == (1, len(values))


@given(st.sampled_from(["POLICY", "MODEL"]), st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_document_stops_it(kind: str, raw: bytes) -> None:
    """Whatever stands in the topics of documents, an approval of it is passed over."""
    digest = Document(kind, "x", "1", raw).sha256
    made, _ = asyncio.run(coordinate(approval(kind=kind, sha256=digest), find=library(raw)))
    assert (made.activated, made.passed_over) == (0, 1)


async def test_an_error_of_a_client_ends_it() -> None:
    """A producer, a consumer or a search that fails ends the run, the ticks with it: nothing goes on unseen."""
    failure = KafkaConnectionError("away")

    async def find(_: str) -> bytes | None:
        raise failure

    class Failing(Approvals):
        async def getmany(self, *, timeout_ms: int) -> dict[Any, list[Record]]:
            raise failure

    records = [Record(approval())]
    for made in (
        coordinator(Approvals(records), producer=Producer(failure)),
        coordinator(Failing([])),
        coordinator(Approvals(records), find=find),
        coordinator(Approvals([]), producer=Producer(failure), tick_seconds=0.01, now_ms=lambda: 1),
    ):
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(made.run(), 5)
        assert ended.value.exceptions == (failure,)


def test_two_documents_of_one_version_do_not_share_a_key() -> None:
    """Compaction keeps both where two publishers raced; the second that looks is refused, whichever is kept."""
    other = check("policy", PACK + b"\n")
    assert (other.name, other.version) == (POLICY.name, POLICY.version)
    assert POLICY.key == f"policy/retail-thin/{POLICY.version}/{POLICY.sha256}".encode()
    assert other.key != POLICY.key
    assert conflict(other, [Record(PACK, key=POLICY.key)]) is not None
    assert conflict(other, [Record(PACK, key=POLICY.key.rpartition(b"/")[0])]) is not None
    assert conflict(POLICY, [Record(PACK, key=POLICY.key)]) is None
    later = Document("policy", POLICY.name, POLICY.version + "0", b"other")
    assert conflict(later, [Record(PACK, key=POLICY.key), Record(None, key=later.key), Record(b"x")]) is None


class Log:
    """A producer that keeps which topics were written."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> Record:
        self.topics.append(topic)
        return Record(value, 7)


async def test_half_a_publication_is_never_made() -> None:
    """A name that no record can hold is found before the document is sent; else both are, the document first."""
    log = Log()
    with pytest.raises(InvalidRecord):
        await publish_document(log, POLICY, approved_by="\udcff")
    assert log.topics == []
    assert await publish_document(log, POLICY, approved_by="ann") == 7
    assert log.topics == [topics.POLICIES, topics.APPROVALS]


def test_a_number_of_partitions_without_end_is_passed_over() -> None:
    """Routers and coordinator read the approvals of splits at their start: what is no number of partitions is none."""
    bodies = [{"kind": "JOURNAL", "name": "partitions", "version": version} for version in ("6", "9" * 5_000)]
    assert placement(bodies, 3).counts == (6,)


@pytest.mark.kafka
async def test_finds_what_was_published_after_it_looked(cluster: Settings) -> None:
    """A document is found as soon as its publication is acknowledged; garbage beside it is no hindrance."""
    admin = kafka.admin(cluster.kafka)
    await admin.start()
    await topic_admin.apply(admin, CATALOGUE, replication=1)
    await admin.close()
    reader, producer = kafka.consumer(cluster.kafka), kafka.producer(cluster.kafka)
    await reader.start()
    await producer.start()
    try:
        find = functools.partial(Documents().find, reader)
        for number in range(3):
            raw = PACK + b"# %d\n" % (number + asyncio.get_running_loop().time() * 1e6)
            document = Document("policy", f"found-{number}", "1", raw)
            assert await find(document.sha256) is None
            await producer.send_and_wait(topics.POLICIES, b"\xff\0", key=b"garbage")
            await publish_document(producer, document, approved_by="ann")
            assert await find(document.sha256) == raw
        assert {tp.topic for tp in reader.assignment()} == {topics.POLICIES, topics.MODELS}
        assert all(isinstance(tp, TopicPartition) for tp in reader.assignment())
    finally:
        await producer.stop()
        await reader.stop()


async def test_what_is_known_of_partitions_activates_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Approvals of a split are read by routers at their start; the coordinator passes them over without a word."""
    made, producer = await coordinate(approval(kind="JOURNAL", name="partitions", version="12", sha256=""))
    assert (producer.sent, made.activated, made.passed_over) == ([], 0, 0)
    assert not caplog.records


@pytest.mark.parametrize(("newest", "activated"), [(1, 0), (2, 1)])
async def test_the_newest_logic_is_told(newest: int, activated: int) -> None:
    """A coordinator of the next release activates what that release knows."""
    approvals = Approvals([Record(approval(kind="LOGIC", name="logic", version="2", sha256=""), 4)])
    made = coordinator(approvals, newest_logic=newest)
    work = asyncio.ensure_future(made.run())
    await approvals.read.wait()
    work.cancel()
    await asyncio.wait([work])
    assert made.activated == activated
