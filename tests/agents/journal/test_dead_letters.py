"""Dead letters of router and fold as they are written: what stands in the clear, and that they always fit."""

from typing import Any

import pytest

from agents import topology
from agents.clients import sealing
from agents.engine.records import size_of
from agents.journal.router import DEAD_LETTER_KEY, RouterRefused
from schemas import deadletter, deadletter_envelope, topics
from schemas import headers as names
from schemas.codec import EMBEDDED, encode
from schemas.sealed import Sealed
from tests.agents.journal.test_router import EVENT, Incoming, MemoryVault, route, router

REASON = RouterRefused("x" * 100_000)


async def letter_of(record: Any, error: Exception = REASON) -> tuple[Any, deadletter.Original]:
    """Return a dead letter of the router, and what its envelope holds."""
    vault = MemoryVault()
    await vault.fetch([DEAD_LETTER_KEY])
    letter = topology.router_job(router(vault=vault), vault).dead_letter(record, error)
    block = Sealed(**EMBEDDED.decode(letter.value, "DeadLetterEnvelope"))
    return letter, deadletter_envelope.unpack(sealing.unseal(block, vault.keys[DEAD_LETTER_KEY]))


async def test_no_header_of_an_interaction_stands_in_the_clear() -> None:
    """`ce_subject` may name a customer, own headers anything, also under names that are ours."""
    secret = b"email:ann@example.org"
    own = [
        (name, secret)
        for name in (
            names.SUBJECT,
            names.CONTENT_TYPE,
            "own",
            deadletter.REDRIVEN,
            deadletter.TRUNCATED,
            deadletter.ENCRYPTED,
            deadletter.TOPIC,
        )
    ]
    back = (deadletter.REDRIVEN, b"crm.interactions.v1.dlq/0/1")
    headers = [*own, (names.SOURCE, None), back, back]
    letter, kept = await letter_of(Incoming(value=b"v", headers=headers))
    assert kept == (b"household:1", b"v", headers)
    assert letter.key is None
    assert not any(b"ann" in (value or b"") for _, value in letter.headers)
    assert letter.headers[:3] == [(names.CONTENT_TYPE, names.AVRO), back, back]
    assert all(name.startswith("__connect.errors.") or name == deadletter.ENCRYPTED for name, _ in letter.headers[3:])
    assert deadletter.parse(letter.headers).topic == topics.INTERACTIONS


HUGE = [
    {"key": b"k" * 1_000_000},
    {"value": b"v" * 1_000_000},
    {"headers": [("h" * 500_000, b"x" * 500_000)]},
    {"headers": [("", None)] * 300_000},
    {"headers": [(deadletter.REDRIVEN, b"crm.interactions.v1.dlq/0/1")] * 20_000},
    {"headers": [(deadletter.REDRIVEN, b"x" * 250 + b".dlq/0/1")] * 4_000},
    {"key": b"k" * 300_000, "value": b"v" * 300_000, "headers": [("h", b"x" * 300_000)]},
]


@pytest.mark.parametrize("huge", HUGE)
async def test_a_dead_letter_fits_whatever_came_in(huge: dict[str, Any]) -> None:
    """Router's and fold's stay well below what the engine sends, headers included, though the reason is long too."""
    record = Incoming(**{"value": b"v", **huge})
    for letter in ((await letter_of(record))[0], topology.fold_dead_letter(record, REASON)):
        assert size_of([(letter.key, letter.value, letter.headers)]) < 300_000


async def test_no_header_of_a_producer_gets_into_a_dead_letter_of_the_fold() -> None:
    """The router copies known headers alone, so a mark in a journal record's dead letter is ours."""
    own = [
        (name, b"not a number")
        for name in ("attune-dlq-truncated", "attune-dlq-null-value", "attune-dlq-encrypted", deadletter.ENCRYPTED)
    ]
    own += [(deadletter.PREFIX + name, b"x") for name in ("topic", "offset", "anything")]
    own += [(deadletter.REDRIVEN, b"x"), (names.ID, b"1"), (names.KIND, b"tick"), (names.POSITION, b"x")]
    (routed,) = await route(Incoming(value=encode("Interaction", EVENT), headers=own))
    written = {names.ID, names.KIND, names.ORIGIN, names.SCHEMA, names.SUBJECT}
    assert {name for name, _ in routed.headers} == written
    assert dict(routed.headers)[names.KIND] == b"interaction"
    record = Incoming(routed.key, routed.value, routed.headers, topics.JOURNAL, routed.partition, 7)
    letter = topology.fold_dead_letter(record, ValueError("absurd"))
    assert deadletter.original_headers(letter.headers) == routed.headers
    assert (letter.key, letter.value) == (routed.key, routed.value)


def test_a_journal_record_of_a_stranger_is_kept_as_far_as_it_can_be() -> None:
    """Null headers stay null; what pretends to be our mark goes."""
    own = [("a", None), (deadletter.TRUNCATED, b"?"), (names.KIND, None)]
    record = Incoming(None, None, own, topics.JOURNAL, 0, 7)
    letter = topology.fold_dead_letter(record, ValueError())
    assert (letter.key, letter.value) == (None, None)
    assert deadletter.original_headers(letter.headers) == [("a", None), (names.KIND, None)]
