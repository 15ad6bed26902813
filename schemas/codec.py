"""Between records (plain dicts) and bytes in Confluent wire format: byte 0, 4-byte big-endian schema id, Avro body.

This is the hot path, hence dicts and not the typed records of schemas.records; tests/benchmarks/codec.py measures
it. Three things differ from what fastavro does by itself:

- What the current schema wrote is read, and everything is written, by functions that schemas.compiled made from the
  schema. What an older version wrote goes through fastavro, which resolves it to the current one.
- A timestamp is a plain `int` of milliseconds since 1970, both ways. Logical types are taken out of the schemas
  before they are compiled, since a datetime per field costs more than the rest of the field and folds compute
  with integers anyway. The bytes are the same.
- What is wrong with a message is told apart: UnknownSchema where nobody knows the writer's schema,
  MalformedMessage where the bytes are not framed, end early, go on after the record or hold another type.

The embedded registry's ids are known at once. Ids of a remote registry are told by `learn` (the registry module's
`resolve` does so); encoding with them is chosen by `Codec(ids)`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader

from schemas import versions
from schemas.compiled import compile_reader, compile_writer
from schemas.errors import InvalidRecord, MalformedMessage, UnknownSchema
from schemas.misfit import misfit
from schemas.primitives import Overrun

Record = dict[str, Any]

MAGIC: Final = 0
FRAME_LENGTH: Final = 5


def frame(schema_id: int) -> bytes:
    """Return the five bytes that stand before an Avro body."""
    return b"\0" + schema_id.to_bytes(4, "big")


def schema_id_of(value: bytes | None) -> int:
    """Return the schema id in a framed value; MalformedMessage when it is not framed."""
    if value is None:
        raise MalformedMessage("the record has no value")
    if len(value) < FRAME_LENGTH:
        raise MalformedMessage(f"the value has {len(value)} bytes, too few for the frame of {FRAME_LENGTH}")
    if value[0] != MAGIC:
        raise MalformedMessage(
            f"the value begins with byte {value[0]}, not {MAGIC}: it is not in Confluent wire format"
        )
    return int.from_bytes(value[1:FRAME_LENGTH], "big")


def without_logical_types(schema: Any) -> Any:
    """Return a schema without logical types and docs; it reads and writes the same bytes."""
    if isinstance(schema, Mapping):
        return {k: without_logical_types(v) for k, v in schema.items() if k not in ("logicalType", "doc")}
    if isinstance(schema, list):
        return [without_logical_types(item) for item in schema]
    return schema


@dataclass(frozen=True, slots=True)
class _Reading:
    """How to read what one schema wrote: `read` takes (value, start) and returns a record of the current schema."""

    name: str
    fingerprint: str
    read: Callable[[bytes, int], Record]


_CURRENT: Final = {name: parse_schema(without_logical_types(schema)) for name, schema in versions.CURRENT.items()}
_READERS: Final = {name: compile_reader(schema) for name, schema in _CURRENT.items()}
_WRITERS: Final = {name: compile_writer(schema) for name, schema in _CURRENT.items()}


def _resolving_reader(writer: Any, reader: Any) -> Callable[[bytes, int], Record]:
    def read(value: bytes, start: int) -> Record:
        stream = BytesIO(value)
        stream.seek(start)
        schemaless_reader(stream, writer, None)  # a field that is skipped below would not be missed where it is cut
        if stream.tell() != len(value):
            raise Overrun(stream.tell())
        stream.seek(start)
        record: Record = schemaless_reader(stream, writer, reader)
        return record

    return read


def _reading(schema: Mapping[str, Any]) -> _Reading:
    try:
        writer = parse_schema(without_logical_types(schema))
        mark = versions.fingerprint_of(schema)
    except Exception as error:
        raise UnknownSchema(f"the writer's schema is no valid Avro schema: {error}") from error
    full_name = writer.get("name", "") if isinstance(writer, dict) else ""
    namespace, _, name = full_name.rpartition(".")
    if namespace != versions.NAMESPACE or name not in _CURRENT:
        raise UnknownSchema(
            f"the writer's schema is {full_name or writer!r}, none of this contract's: "
            + ", ".join(f"{versions.NAMESPACE}.{known}" for known in _CURRENT)
        )
    same = mark == versions.LATEST[name].fingerprint
    return _Reading(name, mark, _READERS[name] if same else _resolving_reader(writer, _CURRENT[name]))


_BY_FINGERPRINT: Final = {mark: _reading(version.schema) for mark, version in versions.BY_FINGERPRINT.items()}


def _read(reading: _Reading, value: bytes) -> Record:
    try:
        return reading.read(value, FRAME_LENGTH)
    except Overrun as error:
        if error.end < len(value):
            raise MalformedMessage(
                f"{len(value) - error.end} bytes follow the {reading.name}, which ends at byte {error.end}"
            ) from error
        raise MalformedMessage(f"the {reading.name} breaks off at the end of its {len(value)} bytes") from error
    except Exception as error:
        raise MalformedMessage(
            f"the {reading.name} of {len(value)} bytes breaks off or is garbled: {type(error).__name__} {error}"
        ) from error


class Codec:
    """Encodes with one set of ids and decodes every schema that it has learnt.

    `ids` gives the id of the current schema of each name; without it those of the embedded registry are used.
    """

    def __init__(self, ids: Mapping[str, int] | None = None) -> None:
        embedded = {name: version.schema_id for name, version in versions.LATEST.items()}
        self.ids: Mapping[str, int] = {**embedded, **(ids or {})}
        self._frames = {name: frame(schema_id) for name, schema_id in self.ids.items()}
        self._readings: dict[int, _Reading] = {}
        if ids is None:
            self._readings = {v.schema_id: _BY_FINGERPRINT[v.fingerprint] for v in versions.PUBLISHED}
        for name, schema_id in self.ids.items():
            self._readings[schema_id] = _BY_FINGERPRINT[versions.LATEST[name].fingerprint]

    def learn(self, schema_id: int, schema: Mapping[str, Any]) -> None:
        """Remember what a registry says of an id; UnknownSchema when it is none of this contract's types."""
        self._readings[schema_id] = _reading(schema)

    def knows(self, schema_id: int) -> bool:
        """Tell whether values with this id can be decoded."""
        return schema_id in self._readings

    def encode(self, name: str, record: Mapping[str, Any]) -> bytes:
        """Write a record by the current schema of that name.

        InvalidRecord names the field that is missing, undeclared or of a wrong type.
        """
        return encode_body(name, record, self._frames[name])

    def decode(self, value: bytes | None, name: str | None = None) -> Record:
        """Read a framed value as the current schema of its type; `name` says which type is expected here.

        UnknownSchema for an id never learnt; MalformedMessage for anything that is not one whole record of the
        type.
        """
        schema_id = schema_id_of(value)
        assert value is not None
        reading = self._readings.get(schema_id)
        if reading is None:
            raise UnknownSchema(f"schema id {schema_id} is not known; publish the schema in the registry first")
        if name is not None and name != reading.name:
            raise MalformedMessage(f"the value is a {reading.name} (schema id {schema_id}), expected a {name}")
        return _read(reading, value)

    def reframe(self, value: bytes) -> bytes:
        """Give what the embedded codec wrote this codec's id: outputs of a fold, on their way to other readers.

        A fold depends on no registry, so it writes the embedded ids; the body is the same under both.
        """
        name, _ = EMBEDDED.type_of(value)
        return self._frames[name] + value[FRAME_LENGTH:]

    def type_of(self, value: bytes | None) -> tuple[str, str]:
        """Return the type's name and its writer's fingerprint, from the id alone; errors as decode."""
        schema_id = schema_id_of(value)
        reading = self._readings.get(schema_id)
        if reading is None:
            raise UnknownSchema(f"schema id {schema_id} is not known; publish the schema in the registry first")
        return reading.name, reading.fingerprint


def encode_body(name: str, record: Mapping[str, Any], start: bytes = b"") -> bytes:
    """Write a record by the current schema of that name after `start`; errors as Codec.encode."""
    try:
        return _WRITERS[name](record, start)
    except Exception as error:
        raise InvalidRecord(misfit(_CURRENT[name], record, name) or f"{name}: {error}") from error


def item_writer(name: str, field: str) -> Callable[[Mapping[str, Any]], bytes]:
    """Return a writer of one item of an array field; `schemas.primitives.written` puts them together."""
    (array,) = [one["type"] for one in _CURRENT[name]["fields"] if one["name"] == field]
    write = compile_writer(array["items"])
    return lambda item: write(item, b"")


def decode_by_fingerprint(fingerprint: str, value: bytes | None, name: str | None = None) -> Record:
    """Read a framed value of the journal: header attune-schema names the writer, the id in the frame is not looked at.

    Every published version is known, so that no registry is needed. UnknownSchema and MalformedMessage as
    Codec.decode.
    """
    schema_id_of(value)
    assert value is not None
    reading = _BY_FINGERPRINT.get(fingerprint)
    if reading is None:
        raise UnknownSchema(f"no committed schema has the fingerprint {fingerprint!r}; this release may be too old")
    if name is not None and name != reading.name:
        raise MalformedMessage(f"the value is a {reading.name} (fingerprint {fingerprint}), expected a {name}")
    return _read(reading, value)


def fingerprint_of(name: str) -> str:
    """Return the fingerprint of the current schema of that name, as header attune-schema carries it."""
    return versions.LATEST[name].fingerprint


EMBEDDED: Final = Codec()
"""The codec with the embedded registry's ids: what the pure core and every fold write and read."""

encode = EMBEDDED.encode
decode = EMBEDDED.decode
