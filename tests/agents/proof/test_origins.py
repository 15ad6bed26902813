"""The oracle's first claim beside the router, without a broker: both follow one rule on what enters the journal."""

import json
from collections.abc import Sequence
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.journal.router import Router
from agents.proof.growth import Growth
from agents.proof.ledger import DEAD
from agents.proof.origins import Origins
from agents.proof.reading import Span
from agents.proof.report import Kind, Report
from agents.proof.subject import Places
from schemas import headers as names
from schemas import identity, topics, versions
from schemas.codec import Codec, encode
from tests.agents.journal.test_router import EVENT, PERSONAL, SECRET, TRACE, Incoming, MemoryVault
from tests.schemas.strategies import records

PARTITIONS = 6
FOREIGN: Any = json.loads(json.dumps(versions.CURRENT["Interaction"]))
FOREIGN["fields"].append({"name": "loyalty_points", "type": ["null", "long"], "default": None})
FOREIGN_ID = 9_999
PLACES = Places(
    interactions=topics.INTERACTIONS,
    interactions_dead=topics.INTERACTIONS_DEAD,
    journal=topics.JOURNAL,
    changelog="",
    outputs=(),
    router_group="",
    fold_group="",
)


def codec() -> Codec:
    made = Codec()
    made.learn(FOREIGN_ID, FOREIGN)
    return made


def foreign(event: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(FOREIGN), {**event, "loyalty_points": None})
    return b"\0" + FOREIGN_ID.to_bytes(4, "big") + stream.getvalue()


def judge(interactions: Sequence[Incoming], journal: Sequence[Incoming], refused: Sequence[int] = ()) -> Report:
    """Return the oracle's verdict; of interactions that were refused it is told that there is a dead letter."""
    report = Report()
    reference: Any = SimpleNamespace(
        customer_of=lambda key: identity.customer_of_key(SECRET, key),
        type_of=codec().type_of,
        decode=codec().decode,
    )
    origins = Origins(reference, PLACES, Growth([PARTITIONS], PARTITIONS, report), report)
    origins.expect({0: Span(0, len(interactions))})
    for record in interactions:
        origins.interaction(record)
    for offset in refused:
        origins.ledgers[0].mark(offset, DEAD)
    marks: dict[int, dict[int, int]] = {}
    for record in journal:
        origins.journal(record, marks.setdefault(record.partition, {}))
    origins.finish({0: len(interactions)}, {0: len(interactions)})
    return report


async def route(interactions: Sequence[Incoming]) -> tuple[list[Incoming], list[int]]:
    """Return the journal, and the offsets of the interactions that were refused."""
    router = Router(journal=topics.JOURNAL, partitions=PARTITIONS, secret=SECRET, codec=codec(), vault=MemoryVault())
    await router.prepare(interactions)
    journal: list[Incoming] = []
    refused = []
    for record in interactions:
        try:
            routed = router(None, record)
        except ValueError:
            refused.append(record.offset)
        else:
            for topic, key, value, headers, partition in routed:
                journal.append(Incoming(key, value, headers, topic, partition, len(journal)))
    return journal, refused


def interactions(*sent: tuple[bytes | None, list[tuple[str, bytes | None]]]) -> list[Incoming]:
    return [Incoming(value=value, headers=own, partition=0, offset=n) for n, (value, own) in enumerate(sent)]


SEALED = {"key_id": "k", "nonce": b"n" * 12, "ciphertext": b"c" * 30}


async def test_oracle_and_router_agree_on_every_sort_of_record() -> None:
    """Blocks with and without their header, null headers, trace contexts that are none, foreign schemas, garbage."""
    values = [encode("Interaction", {**EVENT, "personal": block}) for block in (None, PERSONAL, SEALED)]
    values += [foreign({**EVENT, "personal": block}) for block in (None, PERSONAL, SEALED)]
    garbled = [value[:-1] for value in values] + [value + b"\0" for value in values]
    not_utf8 = encode("Interaction", {**EVENT, "touchpoint": "xyzw"}).replace(b"xyzw", b"\xff\xff\xff\xff")
    headers: list[list[tuple[str, bytes | None]]] = [
        [(names.ID, b"1")],
        [(names.ID, None), (names.SOURCE, b"till"), (names.TRACEPARENT, b"none"), ("own", None)],
        [(names.TRACEPARENT, TRACE), (names.PERSONAL, None)],
        [(names.PERSONAL, b"1")],
    ]
    sent = interactions(*[(value, own) for value in (*values, *garbled, not_utf8, None, b"") for own in headers])
    journal, refused = await route(sent)
    report = judge(sent, journal, refused)
    assert report.held, report.to_json()
    assert (report.dead, report.routed, report.both) == (len(refused), len(journal), 0)
    assert len(journal) == len(values) * len(headers) + 3, "what is no text is copied unless it must be decoded"
    assert not any(b"ann@example.org" in (record.value or b"") for record in journal)


async def test_a_block_that_the_router_forgot_to_seal_is_named() -> None:
    """Without the header too: the journal keeps for ever what stands there in the clear."""
    sent = interactions((encode("Interaction", {**EVENT, "personal": PERSONAL}), []))
    journal, _ = await route(sent)
    journal[0].value = sent[0].value
    report = judge(sent, journal)
    assert report.counts == {Kind.OTHER_CONTENT: 1, Kind.NOT_ROUTED: 1}
    assert any("stand in the clear" in found.words for found in report.differences)


async def test_a_trace_context_that_was_not_dropped_is_no_difference() -> None:
    """An earlier router copied it; another header that differs is one."""
    sent = interactions((encode("Interaction", EVENT), [(names.ID, b"1"), (names.TRACEPARENT, b"none")]))
    journal, _ = await route(sent)
    journal[0].headers = [(names.TRACEPARENT, b"none"), *journal[0].headers]
    assert judge(sent, journal).held
    journal[0].headers = [(names.SOURCE, b"1"), *journal[0].headers]
    assert judge(sent, journal).counts[Kind.OTHER_CONTENT] == 1


@pytest.mark.parametrize("name", [names.KIND, names.ORIGIN, names.SCHEMA])
async def test_a_null_header_in_the_journal_is_a_difference_and_no_crash(name: str) -> None:
    """Whoever writes it, the oracle goes on."""
    sent = interactions((encode("Interaction", EVENT), []))
    journal, _ = await route(sent)
    journal[0].headers = [(key, None if key == name else value) for key, value in journal[0].headers]
    assert not judge(sent, journal).held


@given(records(versions.CURRENT["Interaction"]), st.booleans(), st.integers(0, 10_000), st.binary(max_size=4))
async def test_they_agree_on_any_bytes(record: dict[str, Any], marked: bool, at: int, put: bytes) -> None:
    """Whatever is spoilt in a record, what the router makes of it is what the oracle expects."""
    value = encode("Interaction", record)
    at = 5 + at % (len(value) - 4)
    headers: list[tuple[str, bytes | None]] = [(names.PERSONAL, b"1")] if marked else []
    sent = interactions((value, headers), (value[:at] + put + value[at + len(put) :], headers), (value[:at], headers))
    journal, refused = await route(sent)
    report = judge(sent, journal, refused)
    assert report.held, report.to_json()
