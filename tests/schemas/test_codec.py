"""The codec: round trips, agreement with fastavro, old writers, and every kind of bad input."""

import copy
import random
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import codec, versions
from schemas.codec import EMBEDDED, Codec
from schemas.compiled import compile_reader, compile_writer
from schemas.errors import InvalidRecord, MalformedMessage, UnknownSchema
from tests.schemas.strategies import minimal, records

NAMES = sorted(versions.CURRENT)
PARSED = {name: fastavro.parse_schema(codec.without_logical_types(versions.CURRENT[name])) for name in NAMES}
ANY_RECORD = st.one_of([st.tuples(st.just(name), records(versions.CURRENT[name])) for name in NAMES])
PURCHASE = {
    "type": "purchase.made",
    "event_id": "e-1",
    "occurred_at": 1_700_000_000_000,
    "channel": "OUTLET",
    "source": "shop",
    "touchpoint": "store-12",
    "amount_minor": 1234,
    "currency": "USD",
    "reference": "b-123",
    "decision_id": None,
    "attributes": {"coupon": "x"},
    "personal": None,
}


@given(ANY_RECORD)
def test_what_is_encoded_is_decoded(drawn: tuple[str, dict[str, Any]]) -> None:
    """Every record of every schema comes back equal, by id and by fingerprint."""
    name, record = drawn
    value = codec.encode(name, record)
    assert codec.decode(value) == record
    assert codec.decode(value, name) == record
    assert codec.decode_by_fingerprint(codec.fingerprint_of(name), value, name) == record


@given(ANY_RECORD)
def test_the_bytes_are_those_of_fastavro(drawn: tuple[str, dict[str, Any]]) -> None:
    """The compiled writer writes what fastavro writes, and fastavro reads what it wrote."""
    name, record = drawn
    value = codec.encode(name, record)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, PARSED[name], record)
    assert value[5:] == stream.getvalue()
    assert fastavro.schemaless_reader(BytesIO(value[5:]), PARSED[name], None) == record


@given(ANY_RECORD)
def test_defaults_fill_in_absent_fields(drawn: tuple[str, dict[str, Any]]) -> None:
    """A record without the fields that equal their defaults is written as the whole one."""
    name, record = drawn
    assert codec.encode(name, minimal(record, versions.CURRENT[name])) == codec.encode(name, record)


def test_a_time_is_a_plain_integer() -> None:
    """Milliseconds go in and come out as int; with logical types the same bytes are the same moment."""
    value = codec.encode("Interaction", PURCHASE)
    assert type(codec.decode(value)["occurred_at"]) is int
    full = fastavro.parse_schema(versions.CURRENT["Interaction"])
    read: Any = fastavro.schemaless_reader(BytesIO(value[5:]), full, None)
    assert read["occurred_at"].timestamp() * 1000 == PURCHASE["occurred_at"]


def test_blocks_as_other_writers_cut_them_are_read() -> None:
    """A map in two blocks, one of them with its size in bytes, is one map."""
    read = compile_reader(fastavro.parse_schema({"type": "record", "name": "M", "fields": [
        {"name": "m", "type": {"type": "map", "values": "int"}}]}))  # fmt: skip
    one = b"\x02\x02a\x02"
    two = b"\x01\x06\x02b\x04"  # count -1, 3 bytes
    assert read(one + two + b"\0", 0) == {"m": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    "number", [0, 1, -1, 63, 64, -64, -65, 2**13, 2**20, 2**27, 2**34, 2**41, -(2**41), 2**63 - 1, -(2**63)]
)
def test_numbers_of_every_length(number: int) -> None:
    """Each length of a varint is read and written, at its borders too."""
    for near in (number - 1, number, number + 1):
        if -(2**63) <= near < 2**63:
            record = {**PURCHASE, "occurred_at": near, "amount_minor": near}
            assert codec.decode(codec.encode("Interaction", record)) == record


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "no value"),
        (b"", "0 bytes"),
        (b"\0\0\0\0", "4 bytes"),
        (b'{"type": "purchase.made"}', "begins with byte 123"),
        (b"\1\0\0\0\1", "begins with byte 1"),
    ],
)
def test_what_is_not_framed_is_malformed(value: bytes | None, says: str) -> None:
    """A missing value, one that is too short and one with another first byte are told apart from unknown ids."""
    for decode in (codec.decode, lambda v: codec.decode_by_fingerprint(codec.fingerprint_of("Interaction"), v)):
        with pytest.raises(MalformedMessage, match=says):
            decode(value)


def test_an_unknown_id_is_unknown() -> None:
    """An id that nobody registered is UnknownSchema, and the message says which."""
    with pytest.raises(UnknownSchema, match="4711"):
        codec.decode(codec.frame(4711) + b"x")
    with pytest.raises(UnknownSchema, match="deadbeef"):
        codec.decode_by_fingerprint("deadbeef", codec.encode("Interaction", PURCHASE))


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_malformed(name: str) -> None:
    """However many bytes are cut off, the rest is no record."""
    whole = _sample(name)
    value = codec.encode(name, whole)
    for length in range(len(value)):
        with pytest.raises(MalformedMessage):
            codec.decode(value[:length])


def test_trailing_bytes_are_malformed() -> None:
    """Bytes after the record are refused, and the message says how many and where it ended."""
    value = codec.encode("Interaction", PURCHASE)
    with pytest.raises(MalformedMessage, match=rf"3 bytes follow the Interaction, which ends at byte {len(value)}"):
        codec.decode(value + b"abc")


def test_another_type_than_expected_is_malformed() -> None:
    """A valid message of another type is refused where one type is expected."""
    value = codec.encode("Control", {"body": {"time": 5}})
    with pytest.raises(MalformedMessage, match=r"is a Control .* expected a Interaction"):
        codec.decode(value, "Interaction")
    with pytest.raises(MalformedMessage, match="is a Control"):
        codec.decode_by_fingerprint(codec.fingerprint_of("Control"), value, "Interaction")


@given(st.binary(max_size=300), st.sampled_from(NAMES))
@example(b"\x80" * 40, "Interaction")
@example(b"\xff" * 40, "CustomerState")
def test_no_bytes_break_the_codec(body: bytes, name: str) -> None:
    """Whatever the body holds, the codec returns a record that it would write again, or says MalformedMessage."""
    try:
        record = codec.decode(codec.frame(EMBEDDED.ids[name]) + body)
    except MalformedMessage:
        return
    codec.encode(name, record)


def test_damaged_messages_never_read_otherwise_than_fastavro() -> None:
    """Of 20,000 damaged messages the codec accepts only such as fastavro reads to the same record."""
    rnd = random.Random(3)
    value = codec.encode("Interaction", PURCHASE)
    accepted = 0
    for _ in range(20_000):
        damaged = bytearray(value)
        for _ in range(rnd.randint(1, 3)):
            damaged[rnd.randrange(5, len(damaged))] = rnd.randrange(256)
        try:
            record = codec.decode(bytes(damaged))
        except MalformedMessage:
            continue
        accepted += 1
        assert record == fastavro.schemaless_reader(BytesIO(bytes(damaged[5:])), PARSED["Interaction"], None)
    assert accepted > 100  # or the test would show nothing


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"zz": 1}, "no field 'zz'"),
        ({"type": 5}, "Interaction.type: expected string, got int"),
        ({"type": "\ud800"}, "Interaction"),
        ({"event_id": None}, "Interaction.event_id: expected string, got NoneType"),
        ({"channel": "PIGEON"}, "Interaction.channel: expected one of SALES_FORCE"),
        ({"channel": ["OUTLET"]}, "Interaction.channel"),
        ({"occurred_at": 1.5}, "Interaction.occurred_at: expected long, got float"),
        ({"occurred_at": True}, "Interaction.occurred_at: expected long, got bool"),
        ({"occurred_at": 2**63}, "Interaction.occurred_at"),
        ({"amount_minor": "12"}, "Interaction.amount_minor: expected null or long, got str"),
        ({"attributes": {"a": 1}}, r"Interaction.attributes\['a'\]: expected string, got int"),
        ({"attributes": {1: "a"}}, "Interaction.attributes: expected map with text keys"),
        ({"attributes": [("a", "b")]}, "Interaction.attributes"),
        ({"personal": {"fields": {"a": 2}}}, r"PersonalData|personal.fields\['a'\]: expected string"),
        ({"personal": {"key_id": "k", "nonce": "n", "ciphertext": b"c"}}, "personal.nonce: expected bytes"),
    ],
)
def test_a_record_that_does_not_fit_is_named_by_its_field(change: dict[str, Any], says: str) -> None:
    """A wrong type, an undeclared field, a number out of range: the field is named."""
    with pytest.raises(InvalidRecord, match=says):
        codec.encode("Interaction", {**PURCHASE, **change})


def test_a_missing_field_is_named() -> None:
    """A field without a default must be there."""
    with pytest.raises(InvalidRecord, match=r"Interaction.event_id: missing"):
        codec.encode("Interaction", {"type": "x", "occurred_at": 5})


def test_errors_quote_no_values() -> None:
    """What a record holds may be personal: it does not get into messages, which get into headers and logs."""
    record = {**PURCHASE, "personal": {"identifiers": {"email": "ann@example.org"}, "fields": {"name": 5}}}
    with pytest.raises(InvalidRecord) as caught:
        codec.encode("Interaction", record)
    assert "ann@example.org" not in str(caught.value)


def _evolved() -> dict[str, Any]:
    schema = copy.deepcopy(dict(versions.CURRENT["Interaction"]))
    schema["fields"] = [
        *schema["fields"],
        {"name": "language", "type": "string", "default": "en"},
    ]
    return schema


def test_a_newer_reader_fills_in_what_an_older_writer_did_not_know() -> None:
    """What version 1 wrote is read by a version with one more field, which has its default."""
    reader = fastavro.parse_schema(codec.without_logical_types(_evolved()))
    read = codec._resolving_reader(PARSED["Interaction"], reader)
    assert read(codec.encode("Interaction", PURCHASE), 5) == {**PURCHASE, "language": "en"}


def test_a_foreign_writer_with_more_fields_is_resolved() -> None:
    """A producer's schema with a field of its own is learnt and read as ours; bad bytes are still malformed."""
    theirs = _evolved()
    body = compile_writer(fastavro.parse_schema(codec.without_logical_types(theirs)))(
        {**PURCHASE, "language": "de"}, codec.frame(900)
    )
    learner = Codec()
    learner.learn(900, theirs)
    assert learner.decode(body, "Interaction") == PURCHASE
    assert learner.type_of(body) == ("Interaction", versions.fingerprint_of(theirs))
    assert learner.type_of(body)[1] not in versions.BY_FINGERPRINT
    for bad in (body[:-1], body + b"\0"):
        with pytest.raises(MalformedMessage):
            learner.decode(bad)


def test_a_channel_that_this_release_does_not_know_reads_as_other() -> None:
    """A newer writer's enum symbol falls to the enum's default instead of stopping the reader."""
    theirs = copy.deepcopy(dict(versions.CURRENT["Interaction"]))
    next(f for f in theirs["fields"] if f["name"] == "channel")["type"]["symbols"].append("METAVERSE")
    value = compile_writer(fastavro.parse_schema(codec.without_logical_types(theirs)))(
        {**PURCHASE, "channel": "METAVERSE"}, codec.frame(901)
    )
    learner = Codec()
    learner.learn(901, theirs)
    assert learner.decode(value)["channel"] == "OTHER"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "Order", "namespace": "shop", "fields": []},
        {"type": "record", "name": "Stranger", "namespace": "crm.v1", "fields": []},
        {"type": "enum", "name": "E", "symbols": ["A"]},
        {"type": "record", "name": "Interaction", "namespace": "crm.v1", "fields": [{"name": "x", "type": "nope"}]},
    ],
)
def test_a_schema_of_another_contract_is_unknown(schema: dict[str, Any]) -> None:
    """A registry may hold other schemas; they are none of ours and say so."""
    with pytest.raises(UnknownSchema):
        Codec().learn(5, schema)


def test_ids_of_another_registry_replace_the_embedded_ones() -> None:
    """With ids of its own a codec writes those, reads those, and does not take the embedded ids for its own."""
    other = Codec({name: 100 + n for n, name in enumerate(NAMES)})
    value = other.encode("Interaction", PURCHASE)
    assert codec.schema_id_of(value) == 100 + NAMES.index("Interaction")
    assert other.decode(value) == PURCHASE
    with pytest.raises(UnknownSchema):
        other.decode(codec.encode("Interaction", PURCHASE))
    assert other.reframe(codec.encode("Interaction", PURCHASE)) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "fixed", "name": "F", "size": 4},
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": "float"}]},
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": ["long", "string"]}]},
    ],
)
def test_the_compiler_refuses_what_it_does_not_support(schema: dict[str, Any]) -> None:
    """An unsupported type is found when a schema is compiled, not when the first message comes."""
    with pytest.raises((ValueError, KeyError)):
        compile_writer(fastavro.parse_schema(schema))


def _sample(name: str) -> dict[str, Any]:
    """A record with every union on its last branch, so that every field has bytes to lose."""

    def value(schema: Any, named: dict[str, Any]) -> Any:
        if isinstance(schema, list):
            return value(schema[-1], named)
        if isinstance(schema, str):
            simple = {"string": "text", "bytes": b"data", "int": 300, "long": 70_000, "double": 0.5, "boolean": True}
            return simple[schema] if schema in simple else value(named[schema], named)
        named[schema.get("name", "")] = schema
        kind = schema["type"]
        if kind == "record":
            return {f["name"]: value(f["type"], named) for f in schema["fields"]}
        if kind == "enum":
            return schema["symbols"][-1]
        if kind == "array":
            return [value(schema["items"], named)] * 2
        if kind == "map":
            return {"key": value(schema["values"], named)}
        return value(kind, named)

    record: dict[str, Any] = value(versions.CURRENT[name], {})
    return record
