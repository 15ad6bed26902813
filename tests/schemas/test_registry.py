"""The two registries: what an unknown id is, what an absent server is, and that neither is taken for the other."""

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import fastavro
import pytest

from schemas import codec, registry, versions
from schemas.catalogue import CATALOGUE
from schemas.codec import Codec
from schemas.compiled import compile_writer
from schemas.errors import RegistryRefused, RegistryUnavailable, UnknownSchema
from schemas.registry import EmbeddedRegistry, RemoteRegistry, publish_all, resolve
from tests.schemas.registry_server import RegistryServer

INTERACTION = versions.CURRENT["Interaction"]
EVENT = {"type": "visit.made", "event_id": "1", "occurred_at": 5}


@pytest.fixture
async def server() -> AsyncIterator[RegistryServer]:
    async with RegistryServer().running() as running:
        yield running


@pytest.fixture
async def client(server: RegistryServer) -> AsyncIterator[RemoteRegistry]:
    async with RemoteRegistry(server.url + "/", timeout_seconds=1) as remote:
        yield remote


async def test_the_embedded_registry_knows_what_is_committed() -> None:
    """Every published version by its id, and nothing else."""
    embedded = EmbeddedRegistry()
    for version in versions.PUBLISHED:
        assert await embedded.schema(version.schema_id) == version.schema
        assert await embedded.register("any", version.schema) == version.schema_id
        assert await embedded.incompatibilities("any", version.schema) == ()
    with pytest.raises(UnknownSchema, match="4711"):
        await embedded.schema(4711)
    changed = copy.deepcopy(dict(INTERACTION))
    changed["fields"].pop()
    with pytest.raises(RegistryRefused, match="not committed"):
        await embedded.register("any", changed)


async def test_the_embedded_registry_publishes_its_own_ids() -> None:
    """publish_all on the embedded registry gives the codec that everybody has."""
    assert (await publish_all(EmbeddedRegistry(), CATALOGUE.subjects())).ids == codec.EMBEDDED.ids


async def test_publishing_to_a_server_gives_a_codec_with_its_ids(
    server: RegistryServer, client: RemoteRegistry
) -> None:
    """Every subject of the catalogue is registered with BACKWARD_TRANSITIVE, and twice is once."""
    first = await publish_all(client, CATALOGUE.subjects())
    again = await publish_all(client, CATALOGUE.subjects())
    assert first.ids == again.ids
    assert set(server.subjects) == {subject for subject, _ in CATALOGUE.subjects()}
    assert set(server.levels.values()) == {"BACKWARD_TRANSITIVE"}
    value = first.encode("Interaction", EVENT)
    assert codec.schema_id_of(value) == first.ids["Interaction"] > 100
    assert first.decode(value)["type"] == "visit.made"


async def test_an_id_of_another_producer_is_resolved_once(server: RegistryServer, client: RemoteRegistry) -> None:
    """A schema with a field more is fetched, learnt and read as ours; the server is asked once."""
    theirs = copy.deepcopy(dict(INTERACTION))
    theirs["fields"].append({"name": "mood", "type": "string"})
    server.add(900, {"schema": json.dumps(theirs)})
    writer = compile_writer(fastavro.parse_schema(codec.without_logical_types(theirs)))
    learner = Codec()
    value = writer({**learner.decode(learner.encode("Interaction", EVENT)), "mood": "fine"}, codec.frame(900))
    for _ in range(3):
        await resolve(learner, client, 900)
    await client.schema(900)
    assert learner.decode(value, "Interaction")["event_id"] == "1"
    assert server.requests == ["GET /apis/v7/schemas/ids/900"]


async def test_an_unknown_id_is_unknown_and_asked_for_only_now_and_then(
    server: RegistryServer, client: RemoteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poisoned topic does not ask for every record; after ten seconds the id may have been registered."""
    for _ in range(5):
        with pytest.raises(UnknownSchema, match="7 is unknown"):
            await client.schema(7)
    assert len(server.requests) == 1
    server.add(7, {"schema": json.dumps(INTERACTION)})
    later = registry.monotonic() + 11
    monkeypatch.setattr(registry, "monotonic", lambda: later)
    assert await client.schema(7) == INTERACTION


async def test_many_unknown_ids_do_not_fill_the_memory(client: RemoteRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of unknown ids is bounded."""
    monkeypatch.setattr(registry, "_UNKNOWN_KEPT", 5)
    for schema_id in range(1, 30):
        with pytest.raises(UnknownSchema):
            await client.schema(schema_id)
    assert len(client._unknown_until) <= 5


@pytest.mark.parametrize("status", [500, 503, 401, 403, 429])
async def test_a_server_that_cannot_answer_is_unavailable(
    server: RegistryServer, client: RemoteRegistry, status: int
) -> None:
    """Errors of the server and of our credentials pause; they never make a message a dead letter."""
    server.fail_with = status
    with pytest.raises(RegistryUnavailable, match=str(status)):
        await client.schema(1)
    server.fail_with = None
    server.add(1, {"schema": json.dumps(INTERACTION)})
    assert await client.schema(1) == INTERACTION


@pytest.mark.parametrize(
    ("status", "what_to_do"),
    [(401, "check registry.user and registry.password, or registry.token"), (403, "check what the registry lets")],
)
async def test_credentials_that_are_refused_say_what_to_look_at(
    server: RegistryServer, client: RemoteRegistry, status: int, what_to_do: str
) -> None:
    """The error names the settings, or the registry's own rules."""
    server.fail_with = status
    with pytest.raises(RegistryUnavailable, match=what_to_do):
        await client.register("s", INTERACTION)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "<html>not here</html>"),
        (200, "<html>welcome</html>"),
        (200, "[1]"),
        (404, "{}"),
        (404, "null"),
        (400, "<html>The plain HTTP request was sent to HTTPS port</html>"),
        (400, "{}"),
    ],
)
async def test_what_is_no_registry_is_unavailable(
    server: RegistryServer, client: RemoteRegistry, status: int, text: str
) -> None:
    """A wrong URL answers 404 or 400 to everything: that must not make every schema unknown, nor every one refused."""
    server.fail_with, server.answer_text = status, text
    with pytest.raises(RegistryUnavailable, match=r"check registry\.url"):
        await client.schema(1)
    with pytest.raises(RegistryUnavailable, match=r"check registry\.url"):
        await client.register("s", INTERACTION)


async def test_a_question_is_never_refused(server: RegistryServer, client: RemoteRegistry) -> None:
    """Whatever a registry has against being asked for an id is no reason to make the message a dead letter."""
    for server.fail_with in (400, 409, 422):
        with pytest.raises(RegistryUnavailable, match="told to"):
            await client.schema(1)
        with pytest.raises(RegistryRefused, match="told to"):
            await client.register("s", INTERACTION)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_told_and_not_followed(server: RegistryServer, client: RemoteRegistry, status: int) -> None:
    """Followed, a POST would come as a GET and credentials would stay behind: the error says where it leads."""
    server.fail_with, server.answer_text = status, ""
    server.answer_headers = {"Location": "https://elsewhere.invalid/apis"}
    with pytest.raises(RegistryUnavailable, match=r"leads to https://elsewhere\.invalid/apis: set registry\.url"):
        await client.register("s", INTERACTION)


async def test_an_id_that_no_registry_gives_is_unknown(server: RegistryServer, client: RemoteRegistry) -> None:
    """Ids are signed; a larger one is not asked for, since some registries answer it as they would a wrong URL."""
    with pytest.raises(UnknownSchema, match="larger than any"):
        await client.schema(2**31)
    assert server.requests == []


async def test_what_is_published_already_needs_no_right_to_write(
    server: RegistryServer, client: RemoteRegistry
) -> None:
    """Where somebody else publishes, a router's credentials may be read-only; what is missing says what it needs."""
    server.read_only = True
    with pytest.raises(RegistryUnavailable, match=r"you may only read; check what the registry lets"):
        await publish_all(client, CATALOGUE.subjects())
    server.read_only = False
    published = await publish_all(client, CATALOGUE.subjects())
    server.read_only = True
    assert (await publish_all(client, CATALOGUE.subjects())).ids == published.ids


async def test_of_a_subject_that_others_filled_only_the_newest_is_missing(
    server: RegistryServer, client: RemoteRegistry
) -> None:
    """Older versions are not appended after a newer one, which they may not be able to read."""
    history = [version.schema for version in versions.PUBLISHED if version.name == "Control"]
    server.add(900, {"schema": json.dumps({**versions.CURRENT["Control"], "doc": "ours"})}, "theirs")
    server.add(901, {"schema": json.dumps(history[0])}, "behind")
    await publish_all(client, [("theirs", "Control"), ("behind", "Control"), ("new", "Control")])
    schemas = {
        subject: [json.loads(server.by_id[schema_id]["schema"]) for schema_id in server.subjects[subject]]
        for subject in ("theirs", "behind", "new")
    }
    assert schemas["theirs"][1:] == [history[-1]]
    assert schemas["behind"] == schemas["new"] == history


async def test_a_slow_server_is_unavailable(server: RegistryServer, client: RemoteRegistry) -> None:
    """After the time-out the error says where and what."""
    server.delay_seconds = 3
    with pytest.raises(RegistryUnavailable, match=r"GET http://.*/schemas/ids/1: TimeoutError"):
        await client.schema(1)


async def test_an_absent_server_is_unavailable() -> None:
    """Nobody listens: unavailable, with the address."""
    async with RemoteRegistry("http://127.0.0.1:9", timeout_seconds=1) as remote:
        with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:9"):
            await remote.schema(1)


async def test_an_incompatible_schema_is_refused(client: RemoteRegistry) -> None:
    """The check names the objection, registering raises it; a subject that is not there has none."""
    await client.register("crm.interactions.v1-value", INTERACTION)
    worse = copy.deepcopy(dict(INTERACTION))
    worse["fields"].append({"name": "mood", "type": "string"})
    assert "mood" in (await client.incompatibilities("crm.interactions.v1-value", worse))[0]
    assert await client.incompatibilities("crm.interactions.v1-value", INTERACTION) == ()
    assert await client.incompatibilities("new-value", worse) == ()
    with pytest.raises(RegistryRefused, match="409"):
        await client.register("crm.interactions.v1-value", worse)


async def test_references_are_put_in_their_place(server: RegistryServer, client: RemoteRegistry) -> None:
    """A schema that refers to a type of another subject is read as one schema."""
    channel = next(field["type"] for field in INTERACTION["fields"] if field["name"] == "channel")
    outer = copy.deepcopy(dict(INTERACTION))
    next(field for field in outer["fields"] if field["name"] == "channel")["type"] = "crm.v1.Channel"
    server.add(1, {"schema": json.dumps({**channel, "namespace": "crm.v1"})}, "channel")
    reference = {"name": "crm.v1.Channel", "subject": "channel", "version": 1}
    server.add(2, {"schema": json.dumps(outer), "references": [reference]})
    assert versions.fingerprint_of(await client.schema(2)) == versions.fingerprint_of(INTERACTION)
    server.add(3, {"schema": json.dumps(outer), "references": [{**reference, "subject": "gone"}]})
    with pytest.raises(UnknownSchema, match=r"refers to crm\.v1\.Channel"):
        await client.schema(3)


@pytest.mark.parametrize(
    "found",
    [
        {"schema": '{"type": "object"}', "schemaType": "JSON"},
        {"schema": '"string"'},
        {"schema": json.dumps({"type": "record", "name": "Order", "fields": []})},
    ],
)
async def test_schemas_of_other_kinds_are_unknown(
    server: RegistryServer, client: RemoteRegistry, found: dict[str, Any]
) -> None:
    """JSON Schema, a bare string, another contract's record: nobody here knows them."""
    server.add(900, found)
    with pytest.raises(UnknownSchema):
        await resolve(Codec(), client, 900)


async def test_credentials_are_sent(server: RegistryServer) -> None:
    """Basic with user and password, bearer with a token, none without either."""
    server.add(1, {"schema": json.dumps(INTERACTION)})
    for options in ({}, {"user": "ann", "password": "secret"}, {"token": "t0k"}):
        async with RemoteRegistry(server.url, **options) as remote:  # type: ignore[arg-type]
            await remote.schema(1)
    assert server.authorization == [None, "Basic YW5uOnNlY3JldA==", "Bearer t0k"]


async def test_credentials_in_the_url_are_sent_and_never_shown(server: RegistryServer) -> None:
    """As with other clients; errors name the address without them, and user and password apart come first."""
    server.add(1, {"schema": json.dumps(INTERACTION)})
    url = server.url.replace("http://", "http://ann:se%2Fcret@")
    for options in ({}, {"user": "ann", "password": "secret"}):
        async with RemoteRegistry(url, **options) as remote:  # type: ignore[arg-type]
            await remote.schema(1)
            with pytest.raises(UnknownSchema) as caught:
                await remote.schema(2)
            assert "cret" not in str(caught.value)
    assert server.authorization[::2] == ["Basic YW5uOnNlL2NyZXQ=", "Basic YW5uOnNlY3JldA=="]


@pytest.mark.parametrize("options", [{"token": "t0k\n"}, {"user": "ann:bob", "password": "secret"}])
async def test_credentials_that_no_header_carries_are_told(options: dict[str, str]) -> None:
    """A token with its file's line break, a user with a colon: an error at once, which does not show them."""
    with pytest.raises(ValueError, match=r"the registry's (token|user) holds") as caught:
        RemoteRegistry("http://127.0.0.1:9", **options)  # type: ignore[arg-type]
    assert not any(secret in str(caught.value) for secret in ("t0k", "bob", "secret"))


async def test_a_client_that_was_not_opened_says_so() -> None:
    """It is an async context manager."""
    with pytest.raises(RuntimeError, match="async with"):
        await RemoteRegistry("http://127.0.0.1:9").schema(1)
