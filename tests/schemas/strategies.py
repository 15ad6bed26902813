"""Hypothesis strategies for any record of the contract, and a walk through a schema's named types."""

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from schemas import versions

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
_PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "string": _TEXT,
    "bytes": st.binary(max_size=80),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-70, 70), st.integers(0, 2**42)),
    "double": st.floats(allow_nan=False),
}


def records(schema: Any, named: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Draw records of an Avro schema, all fields present."""
    names = {} if named is None else named
    if isinstance(schema, list):
        return st.one_of([records(branch, names) for branch in schema])
    if isinstance(schema, str):
        return _PRIMITIVES[schema] if schema in _PRIMITIVES else records(names[schema], names)
    if "name" in schema:
        names[schema["name"]] = schema
    kind = schema["type"]
    if kind == "record":
        return st.fixed_dictionaries({f["name"]: records(f["type"], names) for f in schema["fields"]})
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "array":
        return st.lists(records(schema["items"], names), max_size=70)
    if kind == "map":
        return st.dictionaries(_TEXT, records(schema["values"], names), max_size=5)
    return records(kind, names)


def minimal(record: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without the fields that equal their defaults."""
    return {
        f["name"]: record[f["name"]]
        for f in schema["fields"]
        if "default" not in f or record[f["name"]] != f["default"]
    }


def named_types(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, definition) of every record and enum in a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from named_types(item)
    elif isinstance(schema, Mapping):
        if schema.get("type") in ("record", "enum"):
            yield schema["name"], versions.without_docs(schema)
        for key in ("type", "items", "values", "fields"):
            if not isinstance(schema.get(key), str):
                yield from named_types(schema.get(key))
