"""Dead letters on a real broker and key store: what is listed, opened, and returned byte for byte."""

import base64
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from typer.testing import CliRunner

from agents import topology
from agents.cli.main import app
from agents.clients import kafka, sealing, valkey
from agents.clients.keystore import ValkeyKeyStore, Vault
from agents.errors import AttuneError, UsageError
from agents.journal.router import DEAD_LETTER_KEY, Router, RouterRefused
from agents.ops import deadletters
from agents.ops import topics as ops_topics
from agents.ops.deadletters import Cluster, Filter, Letter
from agents.ops.redrive import CannotRedrive, Redrive
from agents.settings import Settings
from schemas import deadletter, identity, topics
from schemas import headers as names
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED, fingerprint_of
from schemas.sealed import Sealed

pytestmark = pytest.mark.kafka

CUSTOMER = identity.surrogate(b"s" * 32, "household:1")
EVENT = {
    "type": "purchase.made",
    "event_id": "e1",
    "occurred_at": 1_700_000_000_000,
    "channel": "OUTLET",
    "source": "till",
    "touchpoint": "",
    "amount_minor": 100,
    "currency": "EUR",
    "reference": None,
    "decision_id": None,
    "attributes": {},
    "personal": None,
}


@dataclasses.dataclass
class Incoming:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int = 0


@dataclasses.dataclass
class Post:
    """Writes dead letters as the workers do, and reads what comes back."""

    cluster: Cluster
    producer: AIOKafkaProducer
    store: ValkeyKeyStore
    settings: Settings

    async def publish(
        self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], partition: int = 0
    ) -> Incoming:
        offset = await self.append(topics.INTERACTIONS, key, value, headers, partition)
        return Incoming(topics.INTERACTIONS, partition, offset, key, value, headers)

    async def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        partition: int = 0,
    ) -> int:
        """Append any record, also one without key and value; return its offset."""
        batch = self.producer.create_batch()
        batch.append(key=key, value=value, timestamp=1, headers=list(headers))
        return int((await (await self.producer.send_batch(batch, topic, partition=partition))).offset)

    async def refuse(self, record: Incoming, error: Exception) -> Letter:
        """Dead-letter an interaction as the router does."""
        vault = Vault(self.store)
        await vault.fetch([DEAD_LETTER_KEY])
        router = Router(journal=topics.JOURNAL, partitions=6, secret=b"s" * 32, codec=EMBEDDED, vault=vault)
        return await self._send(topology.router_job(router, vault).dead_letter(record, error))

    async def refuse_in_fold(self, kind: bytes = b"interaction", **changes: Any) -> Letter:
        """Dead-letter a journal record as the fold does."""
        headers = [(names.TYPE, b"attune.interaction.purchase.made"), (names.KIND, kind)]
        headers += [(names.ORIGIN, b"crm.interactions.v1/4/77"), (names.SCHEMA, fingerprint_of("Interaction").encode())]
        value = EMBEDDED.encode("Interaction", EVENT)
        record = Incoming(topics.JOURNAL, 2, 5, CUSTOMER.encode(), value, headers)
        return await self._send(topology.fold_dead_letter(dataclasses.replace(record, **changes), ValueError("absurd")))

    async def _send(self, output: Any) -> Letter:
        offset = await self.append(output.topic, output.key, output.value, output.headers)
        return await deadletters.one(self.cluster, f"{output.topic}/0/{offset}")

    async def open(self, block: Sealed) -> bytes:
        return sealing.unseal(block, await self.store.get(block.key_id))

    @property
    def redrive(self) -> Redrive:
        async def frame_id(_fingerprint: str) -> int:
            return 4711

        return Redrive(self.cluster, self.open, frame_id)

    async def back(self, place: str) -> Any:
        """Return the record at a place."""
        topic, partition, offset = place.rsplit("/", 2)
        return await deadletters.record_at(self.cluster.consumer, TopicPartition(topic, int(partition)), int(offset))


@pytest.fixture
async def post(cluster: Settings) -> AsyncIterator[Post]:
    bootstrap = cluster.kafka.bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = kafka.consumer(cluster.kafka)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=3_000_000)
    redis = valkey.client(cluster.redis.url)
    for client in (admin, consumer, producer):
        await client.start()
    await ops_topics.apply(admin, CATALOGUE, replication=1)
    yield Post(Cluster(admin, consumer), producer, ValkeyKeyStore(redis), cluster)
    await producer.stop()
    await consumer.stop()
    await admin.close()
    await redis.aclose()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"household:1", b"\0garbled\xff"),
        (None, b"plain"),
        (b"\xff\xfe", b""),
        (b"household:1", None),
        (None, None),
        (b"", b"readable"),
    ],
)
async def test_an_interaction_comes_back_byte_for_byte(post: Post, key: bytes | None, value: bytes | None) -> None:
    """Key, value and headers are sealed in the letter and restored exactly, on the partition where they were."""
    headers = [(names.TYPE, b"t"), (names.PERSONAL, b"1"), ("twice", b"1"), ("twice", b"2"), (names.SOURCE, None)]
    headers += [(name, b"?") for name in ("", "attune-encrypted", "__connect.errors.topic", "attune-dlq-truncated")]
    headers += [("attune-dlq-null-value", b"1"), (names.SUBJECT, b"email:ann@example.org"), ("null", None)]
    record = await post.publish(key, value, headers, partition=3)
    letter = await post.refuse(record, RouterRefused("no such thing"))
    assert letter.key is None
    assert letter.sealed
    assert not value or value not in (letter.value or b"")
    assert not any(b"ann@example.org" in (content or b"") for _, content in letter.headers)
    assert letter.whole
    assert letter.failure.message == "no such thing"
    found = await deadletters.original(letter, post.open)
    assert found == (key, value, headers)
    planned = await post.redrive.plan(letter)
    back = await post.back(await post.redrive.send(post.producer, planned))
    assert (back.topic, back.partition, back.key, back.value) == (topics.INTERACTIONS, 3, key, value)
    assert list(back.headers) == [*headers, (deadletter.REDRIVEN, letter.place.encode())]


async def test_a_record_that_fails_again_shows_it(post: Post) -> None:
    """Each return leaves its mark, so that a record which goes in circles is seen; what was returned is known."""
    letter = await post.refuse(await post.publish(b"k", b"v", []), RouterRefused("no"))
    for times in (1, 2):
        assert await post.redrive.done([letter]) == set()
        back = await post.back(await post.redrive.send(post.producer, await post.redrive.plan(letter)))
        assert await post.redrive.done([letter]) == {letter.place}
        again = Incoming(back.topic, back.partition, back.offset, back.key, back.value, list(back.headers))
        letter = await post.refuse(again, RouterRefused("still no"))
        assert letter.redriven == times
        assert letter.to_json()["redriven"] == times


async def test_a_journal_record_returns_as_an_interaction(post: Post) -> None:
    """It goes under its surrogate to the partition it came from, framed with the registry's id, our marks taken off."""
    letter = await post.refuse_in_fold()
    assert not letter.sealed
    back = await post.back(await post.redrive.send(post.producer, await post.redrive.plan(letter)))
    assert (back.topic, back.partition, back.key) == (topics.INTERACTIONS, 4, b"attune:" + CUSTOMER.encode())
    assert back.value == b"\0" + (4711).to_bytes(4, "big") + EMBEDDED.encode("Interaction", EVENT)[5:]
    assert [name for name, _ in back.headers] == [names.TYPE, deadletter.REDRIVEN]


async def test_what_is_not_returned(post: Post) -> None:
    """Control records, records without a surrogate, and letters of another topic are refused with the reason."""
    for changes, words in (
        ({"kind": b"tick", "key": None}, "it is a tick"),
        ({"key": b"household:1"}, "no surrogate"),
        ({"value": b"\0\0"}, "no framed value"),
    ):
        letter = await post.refuse_in_fold(**changes)  # type: ignore[arg-type]
        with pytest.raises(CannotRedrive, match=words):
            await post.redrive.plan(letter)
    elsewhere = Incoming("other", 0, 0, b"k", b"v", [])
    with pytest.raises(CannotRedrive, match="name topic other"):
        await post.redrive.plan(await post.refuse(elsewhere, RouterRefused("no")))


async def test_a_cut_letter_returns_whole_while_the_original_stands(post: Post) -> None:
    """Of a long value only the beginning is kept; the whole is read where it stands, or the return is refused."""
    value = bytes(range(256)) * 300
    record = await post.publish(b"k", value, [("h", b"1")], partition=1)
    letter = await post.refuse(record, RouterRefused("too long"))
    assert letter.truncated == len(value)
    assert (await deadletters.original(letter, post.open)).value == value[: deadletter.VALUE_LIMIT]
    planned = await post.redrive.plan(letter)
    assert (planned.value, planned.headers[0]) == (value, ("h", b"1"))
    gone = await post.refuse(dataclasses.replace(record, offset=10**9), RouterRefused("too long"))
    with pytest.raises(CannotRedrive, match="no longer retained"):
        await post.redrive.plan(gone)
    other = await post.publish(b"k", b"short", [], partition=1)
    changed = await post.refuse(dataclasses.replace(record, offset=other.offset), RouterRefused("too long"))
    with pytest.raises(CannotRedrive, match="another record"):
        await post.redrive.plan(changed)


async def test_a_letter_without_whole_key_and_headers_returns_whole_too(post: Post) -> None:
    """Cut is only what is kept: while the original stands, it goes back byte for byte; another one does not."""
    key = b"household:" + b"1" * 100_000
    headers: list[tuple[str, bytes | None]] = [("h", b"x" * 30_000), ("null", None), *[("h", b"x" * 30_000)] * 3]
    record = await post.publish(key, None, headers, partition=1)
    letter = await post.refuse(record, RouterRefused("too long"))
    assert (letter.truncated, letter.truncated_key, letter.truncated_headers) == (None, len(key), len(headers))
    kept = await deadletters.original(letter, post.open)
    assert kept == (key[: deadletter.KEY_LIMIT], None, headers[:2])
    planned = await post.redrive.plan(letter)
    assert (planned.key, planned.value, planned.headers[:-1]) == (key, None, headers)
    for other in (
        await post.publish(key, None, [*headers, ("one", b"more")], partition=1),
        await post.publish(key, None, [("other", b"1"), *headers[1:]], partition=1),
        await post.publish(key[:-1], None, headers, partition=1),
        await post.publish(key, b"", headers, partition=1),
    ):
        moved = await post.refuse(dataclasses.replace(record, offset=other.offset), RouterRefused("too long"))
        with pytest.raises(CannotRedrive, match="another record"):
            await post.redrive.plan(moved)
    gone = await post.refuse(dataclasses.replace(record, offset=10**9), RouterRefused("too long"))
    with pytest.raises(CannotRedrive, match=r"its key of 100,010 bytes and of its 5 headers was kept, and"):
        await post.redrive.plan(gone)


async def test_a_journal_record_with_null_headers_is_shown_as_it_was(post: Post) -> None:
    """The engine's position is no header of the record."""
    record = Incoming(topics.JOURNAL, 2, 5, None, None, [("a", None), (names.KIND, None)])
    output = topology.fold_dead_letter(record, ValueError("absurd"))
    output.headers.append((names.POSITION, b"2/5/0"))
    letter = await post._send(output)
    assert await deadletters.original(letter, post.open) == (None, None, record.headers)
    with pytest.raises(CannotRedrive, match="record of no kind"):
        await post.redrive.plan(letter)


async def test_garbage_in_a_dead_letter_topic_is_listed(post: Post) -> None:
    """Whatever stands there: list survives, show says what is wrong, and the letters around it are unharmed."""
    mark = uuid.uuid4().hex
    envelope = EMBEDDED.encode("DeadLetterEnvelope", {"key_id": DEAD_LETTER_KEY, "nonce": b"", "ciphertext": b"x"})
    sealed = ("attune-encrypted", b"1")
    why = ("__connect.errors.exception.message", f"[/red] {mark} \x1b[31m [bold".encode())
    garbage: list[tuple[bytes | None, list[tuple[str, bytes | None]]]] = [
        (None, []),
        (b"\xff", [("attune-dlq-truncated", b"many"), why]),
        (b"\xff", [("attune-dlq-truncated", b"9" * 5_000), ("attune-dlq-truncated-key", b"-7"), why]),
        (b"x", [("attune-dlq-truncated", None), ("attune-dlq-truncated-headers", b"\xff"), sealed, why]),
        (None, [sealed, why]),
        (envelope, [sealed, why, ("attune-redriven", None), ("attune-redriven", b"\xff")]),
        (b"x", [(name, None) for name in ("__connect.errors.topic", "__connect.errors.offset")]),
        (b"x", [("__connect.errors.topic", b"[/b]"), ("__connect.errors.stage", b"[/]"), why]),
        (b"x", [("__connect.errors.offset", b"9" * 5_000), ("__connect.errors.partition", "\u00b2".encode()), why]),
    ]
    for topic in (topics.INTERACTIONS_DEAD, topics.JOURNAL_DEAD):
        for value, headers in garbage:
            offset = await post.append(topic, None, value, headers)
            shown = command(post.settings, "dlq", "show", f"{topic}/0/{offset}")
            assert shown.exit_code == 0 or isinstance(shown.exception, AttuneError), shown.exception
            redriven = command(post.settings, "dlq", "redrive", f"{topic}/0/{offset}", "--dry-run")
            assert redriven.exit_code == 1, redriven.exception
            assert "refused" in redriven.stdout
    letter = await post.refuse(await post.publish(b"k", b"v", []), RouterRefused(mark))
    listed = command(post.settings, "dlq", "list", "--reason", mark, "--json")
    assert listed.exit_code == 0
    found = json.loads(listed.stdout)["letters"]
    assert letter.to_json() in found
    assert len(found) == 1 + 2 * sum(why in headers for _, headers in garbage)
    table = command(post.settings, "dlq", "list")
    assert table.exit_code == 0, table.exception
    assert letter.id in table.stdout


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    """A producer's timestamp may be anything."""
    assert deadletters.iso(2**62) == f"{2**62} ms"
    assert deadletters.iso(0) == "1970-01-01T00:00:00.000Z"


async def test_filter(post: Post) -> None:
    """Letters are chosen by words of their reason and by offsets, in order."""
    mark = uuid.uuid4().hex
    made = [await post.refuse(await post.publish(b"k", b"v", []), RouterRefused(f"{mark} {n}")) for n in range(3)]
    assert [found async for found in deadletters.read(post.cluster, Filter(reason=mark.upper()))] == made
    offsets = Filter(topics=(topics.INTERACTIONS_DEAD,), first=made[1].offset, last=made[1].offset)
    assert [found async for found in deadletters.read(post.cluster, offsets)] == [made[1]]


async def test_a_lost_key_is_told(post: Post, capsys: pytest.CaptureFixture[str]) -> None:
    """Without its key a sealed letter stays closed, and the message says where keys are."""
    letter = await post.refuse(await post.publish(b"k", b"v", []), RouterRefused("no"))
    await post.store.erase(DEAD_LETTER_KEY)
    result = command(post.settings, "dlq", "show", letter.id)
    assert isinstance(result.exception, AttuneError)
    assert "dead-letters was erased" in result.exception.message
    del capsys


@pytest.mark.parametrize("text", ["", "12", "interactions", "interactions/x", "other/0/1", "crm.journal.v1/0/1"])
def test_ids_that_name_nothing(text: str) -> None:
    """A mistyped id is a usage error that shows how ids look."""
    with pytest.raises(UsageError, match="names no dead letter"):
        deadletters.parse_id(text)


def test_ids() -> None:
    """Short ids and whole places are both understood."""
    assert deadletters.parse_id("journal/3") == (TopicPartition(topics.JOURNAL_DEAD, 0), 3)
    assert deadletters.parse_id(f"{topics.INTERACTIONS_DEAD}/1/7") == (TopicPartition(topics.INTERACTIONS_DEAD, 1), 7)


def command(settings: Settings, *arguments: str) -> Any:
    """Run the command line in a thread of its own, since it has an event loop of its own."""
    import threading

    environment = {
        "ATTUNE_KAFKA__BOOTSTRAP": settings.kafka.bootstrap or "",
        "ATTUNE_REDIS__URL": settings.redis.url or "",
        "ATTUNE_HOME": str(settings.home),
    }
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.append(CliRunner().invoke(app, arguments, env=environment, color=False))
    )
    thread.start()
    thread.join()
    return results[0]


async def test_commands(post: Post) -> None:
    """List, show, show --raw, redrive --dry-run, redrive, redrive again: what each prints and exits with."""
    mark = uuid.uuid4().hex
    value = b"\0\xff" + mark.encode()
    letter = await post.refuse(await post.publish(b"household:1", value, []), RouterRefused(mark))
    listed = command(post.settings, "dlq", "list", "--reason", mark, "--json")
    assert json.loads(listed.stdout)["letters"] == [letter.to_json()]
    assert letter.id in command(post.settings, "dlq", "list", "--reason", mark).stdout
    shown = json.loads(command(post.settings, "dlq", "show", letter.id, "--json").stdout)
    assert base64.b64decode(shown["value_base64"]) == value
    assert shown["key"] == "household:1"
    assert "undecodable" in shown["record"]
    assert command(post.settings, "dlq", "show", letter.id, "--raw").stdout_bytes == value
    assert mark in command(post.settings, "dlq", "show", letter.id).stdout
    dry = json.loads(command(post.settings, "dlq", "redrive", "--reason", mark, "--dry-run", "--json").stdout)
    assert (dry["planned"], dry["returned"]) == (1, 0)
    assert json.loads(command(post.settings, "dlq", "redrive", letter.id, "--json").stdout)["returned"] == 1
    assert json.loads(command(post.settings, "dlq", "redrive", letter.id, "--json").stdout)["skipped"] == 1
    assert "returned to" in command(post.settings, "dlq", "redrive", letter.id, "--again").stdout
    tick = await post.refuse_in_fold(kind=b"tick", key=None)
    refused = command(post.settings, "dlq", "redrive", tick.id)
    assert refused.exit_code == 1
    assert "refused: it is a tick" in refused.stdout
    assert isinstance(command(post.settings, "dlq", "redrive").exception, UsageError)
    assert isinstance(
        command(post.settings, "dlq", "redrive", "--all", "--first", "3").exception, SystemExit | UsageError
    )
    missing = command(post.settings, "dlq", "show", "interactions/999999")
    assert "there is no dead letter" in str(missing.exception)
