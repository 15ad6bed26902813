"""The router: what enters the journal, in what form, and what becomes a dead letter with which reason."""

import dataclasses
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.clients import sealing
from agents.journal.router import DEAD_LETTER_KEY, Router, RouterRefused
from schemas import deadletter, identity, personal, topics, versions
from schemas import headers as names
from schemas.codec import Codec, decode, decode_by_fingerprint, encode, fingerprint_of
from schemas.errors import ContractError, MalformedMessage, RegistryUnavailable, UnknownSchema
from schemas.identity import MalformedKey
from schemas.sealed import Sealed

SECRET = b"s" * 32
EVENT: dict[str, Any] = {
    "type": "purchase",
    "event_id": "e1",
    "occurred_at": 1_500_000_000_000,
    "channel": "OUTLET",
    "source": "till",
    "touchpoint": "store-1",
    "amount_minor": 1999,
    "currency": "USD",
    "reference": "basket-1",
    "decision_id": None,
    "attributes": {},
    "personal": None,
}
TRACE = b"00-" + b"0af7" * 8 + b"-" + b"b7ad" * 4 + b"-01"
PERSONAL = {"identifiers": {"email": "ann@example.org"}, "fields": {"name": "Ann"}}


@dataclasses.dataclass
class Incoming:
    key: bytes | None = b"household:1"
    value: bytes | None = b""
    headers: Sequence[tuple[str, bytes | None]] = ()
    topic: str = topics.INTERACTIONS
    partition: int = 3
    offset: int = 42


class MemoryVault:
    """Keys in memory; only keys that were fetched can be used."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.away = False

    async def fetch(self, key_ids: Sequence[str]) -> None:
        if self.away:
            raise ConnectionError("key store is away")
        for key_id in key_ids:
            self.keys.setdefault(key_id, sealing.new_key())

    def seal(self, key_id: str, plaintext: bytes) -> Sealed:
        return sealing.seal(key_id, self.keys[key_id], plaintext)


def router(**changes: Any) -> Router:
    settings: dict[str, Any] = {
        "journal": topics.JOURNAL,
        "partitions": 6,
        "secret": SECRET,
        "codec": Codec(),
        "vault": MemoryVault(),
    }
    return Router(**{**settings, **changes})


async def route(incoming: Incoming, the_router: Router | None = None) -> Any:
    the_router = the_router or router()
    await the_router.prepare([incoming])
    return the_router(None, incoming)


async def test_copies_an_interaction_as_bytes_to_its_customers_partition() -> None:
    """Same value, surrogate as key and subject, origin and schema stamped, partition by the surrogate."""
    value = encode("Interaction", EVENT)
    incoming = Incoming(value=value, headers=[(names.ID, b"e1"), (names.TRACEPARENT, TRACE), ("x-own", b"1")])
    (routed,) = await route(incoming)
    customer = identity.surrogate(SECRET, "household:1")
    headers = dict(routed.headers)
    assert routed.value == value
    assert routed.key == customer.encode()
    assert routed.partition == identity.journal_partition(customer, 6)
    assert headers[names.ORIGIN] == b"crm.interactions.v1/3/42"
    assert headers[names.KIND] == b"interaction"
    assert headers[names.SUBJECT] == customer.encode()
    assert headers[names.TRACEPARENT] == TRACE
    assert "x-own" not in headers, "unknown headers may hold anything, personal data included"
    assert decode_by_fingerprint(headers[names.SCHEMA].decode(), routed.value, "Interaction") == EVENT


async def test_takes_the_customer_from_the_subject_or_as_a_surrogate() -> None:
    """Without a key ce_subject names the customer; a connector may answer with the surrogate itself."""
    value = encode("Interaction", EVENT)
    (by_subject,) = await route(Incoming(key=None, value=value, headers=[(names.SUBJECT, b"household:1")]))
    customer = identity.surrogate(SECRET, "household:1")
    (by_surrogate,) = await route(Incoming(key=identity.surrogate_key(customer), value=value))
    assert by_subject.key == by_surrogate.key == customer.encode()


async def test_seals_the_personal_block_under_the_customers_key() -> None:
    """No byte of the personal block stands in the journal in the clear; the key opens it again."""
    vault = MemoryVault()
    incoming = Incoming(value=encode("Interaction", {**EVENT, "personal": PERSONAL}), headers=[(names.PERSONAL, b"1")])
    (routed,) = await route(incoming, router(vault=vault))
    assert names.PERSONAL not in dict(routed.headers)
    is_sealed(routed, vault, PERSONAL)


def is_sealed(routed: Any, vault: MemoryVault, expected: dict[str, Any]) -> None:
    """See that a journal record holds a block under its customer's key and no byte of it in the clear."""
    customer = routed.key.decode()
    assert b"ann@example.org" not in routed.value + b"".join(v for _, v in routed.headers)
    block = decode(routed.value, "Interaction")["personal"]
    assert block["key_id"] == customer
    opened = sealing.unseal(Sealed(block["key_id"], block["nonce"], block["ciphertext"]), vault.keys[customer])
    assert json.loads(opened) == expected
    assert {**decode(routed.value, "Interaction"), "personal": None} == EVENT


@pytest.mark.parametrize(
    "block",
    [
        PERSONAL,
        {"identifiers": {}, "fields": {}},
        {"identifiers": {"email": "ann@example.org"}, "fields": {}},
        {"identifiers": {}, "fields": {"name": ""}},
        {"identifiers": {}, "fields": {"name": "\0\0\0"}},
    ],
)
@pytest.mark.parametrize("mark", [[], [(names.PERSONAL, None)]])
async def test_seals_a_block_that_no_header_tells_of(block: dict[str, Any], mark: list[tuple[str, None]]) -> None:
    """A forgotten header costs nobody's data: the key is fetched, the block sealed; all these end in a byte 0."""
    vault = MemoryVault()
    value = encode("Interaction", {**EVENT, "personal": block})
    assert value[-1] == 0
    (routed,) = await route(Incoming(value=value, headers=mark), router(vault=vault))
    is_sealed(routed, vault, block)
    assert dict(routed.headers)[names.SCHEMA] == fingerprint_of("Interaction").encode()


async def test_seals_a_block_of_a_foreign_schema_that_no_header_tells_of() -> None:
    """What is transcoded is looked at as well."""
    vault, foreign = MemoryVault(), json.loads(json.dumps(versions.CURRENT["Interaction"]))
    foreign["fields"].append({"name": "loyalty_points", "type": ["null", "long"], "default": None})
    stream = BytesIO()
    fastavro.schemaless_writer(
        stream, fastavro.parse_schema(foreign), {**EVENT, "personal": PERSONAL, "loyalty_points": 7}
    )

    async def resolve(codec: Codec, schema_id: int) -> None:
        codec.learn(schema_id, foreign)

    incoming = Incoming(value=b"\0" + (9_999).to_bytes(4, "big") + stream.getvalue())
    (routed,) = await route(incoming, router(vault=vault, resolve=resolve))
    is_sealed(routed, vault, PERSONAL)


@pytest.mark.parametrize("headers", [[], [(names.PERSONAL, b"1")]])
@pytest.mark.parametrize("end", [b"\0", b"x"])
async def test_a_sealed_block_is_not_sealed_again(headers: list[tuple[str, bytes]], end: bytes) -> None:
    """A journal record that was returned holds its ciphertext already, whatever byte it ends in."""
    block = {"key_id": "k", "nonce": b"n" * 12, "ciphertext": b"c" * 30 + end}
    incoming = Incoming(value=encode("Interaction", {**EVENT, "personal": block}), headers=headers)
    (routed,) = await route(incoming)
    assert decode(routed.value, "Interaction")["personal"] == block
    assert routed.value == incoming.value


async def test_a_garbled_interaction_is_refused_since_it_may_hold_a_block() -> None:
    """What breaks off behind or within a block in the clear never enters the journal."""
    value = encode("Interaction", {**EVENT, "personal": PERSONAL})
    for end in range(5, len(value)):
        try:
            (routed,) = await route(Incoming(value=value[:end]))
        except MalformedMessage:
            continue
        assert b"ann@example.org" not in routed.value
        assert b"email" not in routed.value
    with pytest.raises(MalformedMessage, match="1 bytes follow"):
        await route(Incoming(value=encode("Interaction", EVENT) + b"\0"))


async def test_a_run_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step relies on what its preparation found in the same run, and looks itself at any other record."""
    looked: list[bytes] = []

    def surely_absent(value: bytes, fingerprint: str) -> bool:
        looked.append(value)
        return absent(value, fingerprint)

    absent = personal.surely_absent
    monkeypatch.setattr(personal, "surely_absent", surely_absent)
    plain = Incoming(value=encode("Interaction", EVENT), offset=7)
    clear = Incoming(value=encode("Interaction", {**EVENT, "personal": PERSONAL}), offset=9)
    vault = MemoryVault()
    step = router(vault=vault)
    await step.prepare([plain, clear])
    assert len(looked) == 2
    assert step(None, plain)[0].value == plain.value
    is_sealed(step(None, clear)[0], vault, PERSONAL)
    assert len(looked) == 2
    unprepared = dataclasses.replace(clear, offset=10)
    is_sealed(step(None, unprepared)[0], vault, PERSONAL)
    assert len(looked) == 3


async def test_null_headers_are_absent() -> None:
    """Kafka allows null values: such a header is not copied, does not name the customer, and stops nothing."""
    known = [names.ID, names.SOURCE, names.TYPE, names.TIME, names.TRACEPARENT, names.SUBJECT, names.PERSONAL, "own"]
    value = encode("Interaction", EVENT)
    (routed,) = await route(Incoming(value=value, headers=[(name, None) for name in known]))
    assert sorted(name for name, _ in routed.headers) == sorted([names.KIND, names.ORIGIN, names.SCHEMA, names.SUBJECT])
    assert all(content is not None for _, content in routed.headers)
    with pytest.raises(MalformedKey, match="no key"):
        await route(Incoming(key=None, value=value, headers=[(names.SUBJECT, None)]))
    twice = [(names.SUBJECT, None), (names.SUBJECT, b"household:1")]
    (by_subject,) = await route(Incoming(key=None, value=value, headers=twice))
    assert by_subject.key == routed.key


async def test_the_key_goes_before_the_subject() -> None:
    """A record with both, which differ, is its key's customer's."""
    (routed,) = await route(Incoming(value=encode("Interaction", EVENT), headers=[(names.SUBJECT, b"household:2")]))
    customer = identity.surrogate(SECRET, "household:1").encode()
    assert routed.key == customer
    assert [content for name, content in routed.headers if name == names.SUBJECT] == [customer]


async def test_the_size_limit_counts_key_value_and_headers() -> None:
    """Exactly the limit passes, a byte more anywhere is refused; the marks of our own returns do not count."""
    value = encode("Interaction", EVENT)
    incoming = Incoming(value=value, headers=[("x-\u00e9", b"1" * 20), ("x", None)])
    size = len(b"household:1") + len(value) + len("x-\u00e9".encode()) + 20 + 1
    step = router(max_message_bytes=size)
    assert (await route(incoming, step))[0].value == value
    for more in (
        {"key": b"household:12"},
        {"headers": [*incoming.headers, ("", b"1")]},
        {"headers": [*incoming.headers, ("y", None)]},
        {"headers": [*incoming.headers, (deadletter.REDRIVEN, b"what a producer calls so")]},
        {"value": encode("Interaction", {**EVENT, "touchpoint": EVENT["touchpoint"] + "1"})},
    ):
        with pytest.raises(RouterRefused, match=rf"key, value and headers have \d+ bytes, more than the {size}"):
            await route(dataclasses.replace(incoming, **more), step)
    returned = [*incoming.headers, (deadletter.REDRIVEN, b"crm.interactions.v1.dlq/0/1")]
    assert (await route(dataclasses.replace(incoming, headers=returned), step))[0].value == value


async def test_a_long_header_is_refused_where_it_would_be_passed_on() -> None:
    """Up to 2,048 bytes of each; the reason names the header, not what it holds; others may be longer."""
    value = encode("Interaction", EVENT)
    for name in sorted(names.PASSED_ON - {names.TRACEPARENT, names.TYPE}):
        (routed,) = await route(Incoming(value=value, headers=[(name, b"x" * 2_048), ("own", b"x" * 9_000)]))
        assert dict(routed.headers)[name] == b"x" * 2_048
        with pytest.raises(RouterRefused, match=f"^header {name} has 2049 bytes, more than the 2048 allowed$"):
            await route(Incoming(value=value, headers=[(name, b"x" * 2_049)]))
    mark = [(names.TYPE, names.WATERMARK.encode()), (names.SOURCE, b"x" * 2_049)]
    control = encode("Control", {"body": {"time": 5, "partitions": 4}})
    with pytest.raises(RouterRefused, match="header ce_source"):
        await route(Incoming(key=None, value=control, headers=mark), router(in_band_clock=True))


@pytest.mark.parametrize("trace", [b"", b"00-1-2-01", TRACE + b"-x", TRACE.upper(), b"x" * 9_000])
async def test_a_trace_context_that_is_none_is_dropped(trace: bytes) -> None:
    """It is worth no dead letter, and is not passed on to every output either."""
    (routed,) = await route(Incoming(value=encode("Interaction", EVENT), headers=[(names.TRACEPARENT, trace)]))
    assert names.TRACEPARENT not in dict(routed.headers)


async def test_a_schema_that_is_registered_later_is_routed_then() -> None:
    """That an id was unknown is remembered for one run only."""
    registered = False

    async def resolve(codec: Codec, schema_id: int) -> None:
        if not registered:
            raise UnknownSchema("nobody knows it yet")
        codec.learn(schema_id, versions.CURRENT["Interaction"])

    step = router(resolve=resolve)
    incoming = Incoming(value=b"\0" + (9_999).to_bytes(4, "big") + encode("Interaction", EVENT)[5:])
    with pytest.raises(RouterRefused, match="nobody knows it yet"):
        await route(incoming, step)
    registered = True
    assert (await route(incoming, step))[0].value == incoming.value


async def test_transcodes_a_schema_that_is_not_ours_to_keep() -> None:
    """A compatible schema from elsewhere enters the journal in the repository's own schema."""
    foreign = json.loads(json.dumps(versions.CURRENT["Interaction"]))
    foreign["fields"].append({"name": "loyalty_points", "type": ["null", "long"], "default": None})
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(foreign), {**EVENT, "loyalty_points": 7})
    value = b"\0" + (9_999).to_bytes(4, "big") + stream.getvalue()

    async def resolve(codec: Codec, schema_id: int) -> None:
        assert schema_id == 9_999
        codec.learn(schema_id, foreign)

    (routed,) = await route(Incoming(value=value), router(resolve=resolve))
    assert decode(routed.value, "Interaction") == EVENT


async def test_a_registry_that_is_away_makes_the_router_wait() -> None:
    """`prepare` raises, so that the engine tries again later and loses nothing; an unknown id is a dead letter."""

    async def away(codec: Codec, schema_id: int) -> None:
        raise RegistryUnavailable("no answer")

    async def unknown(codec: Codec, schema_id: int) -> None:
        raise UnknownSchema("id 9999 is unknown to the registry")

    incoming = Incoming(value=b"\0" + (9_999).to_bytes(4, "big") + b"x")
    with pytest.raises(RegistryUnavailable):
        await router(resolve=away).prepare([incoming])
    with pytest.raises(RouterRefused, match="id 9999 is unknown"):
        await route(incoming, router(resolve=unknown))
    with pytest.raises(UnknownSchema):
        await route(incoming)


async def test_a_key_store_that_is_away_makes_the_router_wait() -> None:
    """Without keys nothing is routed in the clear: `prepare` raises."""
    vault = MemoryVault()
    vault.away = True
    with pytest.raises(ConnectionError):
        await router(vault=vault).prepare([Incoming(value=encode("Interaction", EVENT))])


@pytest.mark.parametrize(
    ("incoming", "error", "reason"),
    [
        (Incoming(key=None, value=encode("Interaction", EVENT)), MalformedKey, "no key"),
        (Incoming(key=b"no-namespace", value=encode("Interaction", EVENT)), MalformedKey, "namespace:value"),
        (Incoming(value=None), MalformedMessage, "no value"),
        (Incoming(value=b"\0\0"), MalformedMessage, "too few"),
        (Incoming(value=b"{}" * 9), MalformedMessage, "wire format"),
        (Incoming(value=b"\0" + (77).to_bytes(4, "big")), UnknownSchema, "77"),
        (Incoming(value=b"\0" * 300_000), RouterRefused, "300011 bytes"),
        (
            Incoming(value=encode("DeadLetterEnvelope", {"key_id": "k", "nonce": b"", "ciphertext": b""})),
            RouterRefused,
            "DeadLetterEnvelope",
        ),
        (
            Incoming(value=encode("Interaction", EVENT)[:-3], headers=[(names.PERSONAL, b"1")]),
            MalformedMessage,
            "Interaction",
        ),
    ],
)
async def test_bad_input_is_refused_with_its_reason(incoming: Incoming, error: type[Exception], reason: str) -> None:
    """What cannot enter the journal raises an error that says why; the engine makes a dead letter of it."""
    with pytest.raises(error, match=reason):
        await route(incoming)


async def test_watermarks_go_to_every_partition_or_are_refused() -> None:
    """Only where the journal's clock comes from the stream may a producer move it."""
    value = encode("Control", {"body": {"time": 5, "partitions": 4}})
    incoming = Incoming(key=None, value=value, headers=[(names.TYPE, names.WATERMARK.encode())])
    routed = await route(incoming, router(in_band_clock=True))
    assert [r.partition for r in routed] == list(range(6))
    assert {dict(r.headers)[names.KIND] for r in routed} == {b"watermark"}
    with pytest.raises(RouterRefused, match="clock"):
        await route(incoming)
    tick = Incoming(
        key=None, value=encode("Control", {"body": {"time": 5}}), headers=[(names.TYPE, names.WATERMARK.encode())]
    )
    with pytest.raises(ContractError, match="only a Watermark"):
        await route(tick, router(in_band_clock=True))


@given(st.binary(max_size=200), st.one_of(st.none(), st.binary(max_size=40)))
def test_arbitrary_bytes_raise_explained_errors_only(value: bytes, key: bytes | None) -> None:
    """Whatever arrives, the step returns records or raises an error of the contract, nothing else."""
    try:
        router()(None, Incoming(key=key, value=value))
    except (ContractError, MalformedKey):
        return


async def test_dead_letter_key_is_always_at_hand() -> None:
    """The key that seals dead letters is fetched with every run, before it is needed."""
    vault = MemoryVault()
    await router(vault=vault).prepare([Incoming(value=encode("Interaction", EVENT))])
    assert DEAD_LETTER_KEY in vault.keys
