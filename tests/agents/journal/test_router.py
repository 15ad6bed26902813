"""The router: what enters the journal, in what form, and what becomes a dead letter with which reason."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.clients import sealing
from agents.journal.router import DEAD_LETTER_KEY, Router, RouterRefused
from schemas import headers as names
from schemas import identity, topics
from schemas.codec import Codec, decode, decode_by_fingerprint, encode
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
PERSONAL = {"identifiers": {"email": "ann@example.org"}, "fields": {"name": "Ann"}}


@dataclasses.dataclass
class Incoming:
    key: bytes | None = b"household:1"
    value: bytes | None = b""
    headers: Sequence[tuple[str, bytes]] = ()
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
    incoming = Incoming(value=value, headers=[(names.ID, b"e1"), (names.TRACEPARENT, b"00-1-2-01"), ("x-own", b"1")])
    (routed,) = await route(incoming)
    customer = identity.surrogate(SECRET, "household:1")
    headers = dict(routed.headers)
    assert routed.value == value
    assert routed.key == customer.encode()
    assert routed.partition == identity.journal_partition(customer, 6)
    assert headers[names.ORIGIN] == b"crm.interactions.v1/3/42"
    assert headers[names.KIND] == b"interaction"
    assert headers[names.SUBJECT] == customer.encode()
    assert headers[names.TRACEPARENT] == b"00-1-2-01"
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
    customer = routed.key.decode()
    assert b"ann@example.org" not in routed.value + b"".join(v for _, v in routed.headers)
    assert names.PERSONAL not in dict(routed.headers)
    block = decode(routed.value, "Interaction")["personal"]
    assert block["key_id"] == customer
    opened = sealing.unseal(Sealed(block["key_id"], block["nonce"], block["ciphertext"]), vault.keys[customer])
    assert json.loads(opened) == PERSONAL


async def test_transcodes_a_schema_that_is_not_ours_to_keep() -> None:
    """A compatible schema from elsewhere enters the journal in the repository's own schema."""
    from schemas import versions

    foreign = json.loads(json.dumps(versions.CURRENT["Interaction"]))
    foreign["fields"].append({"name": "loyalty_points", "type": ["null", "long"], "default": None})
    from io import BytesIO

    import fastavro

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
        (Incoming(value=b"\0" * 300_000), RouterRefused, "300000 bytes"),
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
