"""Says which field of a record does not fit its Avro schema, without quoting values: they may be personal."""

from collections.abc import Callable, Mapping
from typing import Any, Final

_INT_BITS: Final = {"int": 31, "long": 63}


def _is_integer(value: Any, bits: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << bits) <= value < 1 << bits


_PRIMITIVES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, bytes),
    "double": lambda value: isinstance(value, float | int) and not isinstance(value, bool),
    "int": lambda value: _is_integer(value, _INT_BITS["int"]),
    "long": lambda value: _is_integer(value, _INT_BITS["long"]),
}


def misfit(schema: Any, value: Any, where: str, named: dict[str, Any] | None = None) -> str | None:
    """Return what does not fit, e.g. `Interaction.occurred_at: expected long, got str`, or None.

    `schema` is an Avro schema as fastavro parses it, `where` the name to begin the path with. A field that is
    absent and has a default fits; a field that the schema does not have does not.
    """
    names = {} if named is None else named
    if isinstance(schema, list):
        return _misfit_union(schema, value, where, names)
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return None if _PRIMITIVES[schema](value) else _wrong(schema, value, where)
        schema = names[schema]
    check = _COMPLEX.get(schema["type"])
    return check(schema, value, where, names) if check else misfit(schema["type"], value, where, names)


def _misfit_enum(schema: Any, value: Any, where: str, names: dict[str, Any]) -> str | None:
    names[schema["name"]] = schema
    fits = isinstance(value, str) and value in schema["symbols"]
    return None if fits else f"{where}: expected one of {', '.join(schema['symbols'])}"


def _misfit_array(schema: Any, value: Any, where: str, names: dict[str, Any]) -> str | None:
    if not isinstance(value, list):
        return _wrong("array", value, where)
    return _first(misfit(schema["items"], item, f"{where}[{i}]", names) for i, item in enumerate(value))


def _misfit_map(schema: Any, value: Any, where: str, names: dict[str, Any]) -> str | None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return _wrong("map with text keys", value, where)
    return _first(misfit(schema["values"], item, f"{where}[{key!r}]", names) for key, item in value.items())


def _misfit_record(schema: Any, value: Any, where: str, names: dict[str, Any]) -> str | None:
    names[schema["name"]] = schema
    if not isinstance(value, Mapping):
        return _wrong(schema["name"], value, where)
    fields = {field["name"]: field for field in schema["fields"]}
    for key in value:
        if key not in fields:
            return f"{where}: no field {key!r}; it has {', '.join(fields)}"
    for key, field in fields.items():
        if key in value:
            found = misfit(field["type"], value[key], f"{where}.{key}", names)
        else:
            found = None if "default" in field else f"{where}.{key}: missing"
        if found:
            return found
    return None


def _misfit_union(schema: list[Any], value: Any, where: str, names: dict[str, Any]) -> str | None:
    reasons = [misfit(branch, value, where, names) for branch in schema]
    if None in reasons:
        return None
    if isinstance(value, Mapping):  # a record: say what is wrong with the likeliest one, not that it is no null
        reasons = [reason for branch, reason in zip(schema, reasons, strict=True) if branch != "null"]
        return f"{where}: fits none of its types ({'; '.join(str(reason) for reason in reasons)})"
    expected = " or ".join(
        branch if isinstance(branch, str) else branch.get("name", branch["type"]) for branch in schema
    )
    return _wrong(expected, value, where)


_COMPLEX: Final = {
    "record": _misfit_record,
    "enum": _misfit_enum,
    "array": _misfit_array,
    "map": _misfit_map,
}


def _first(reasons: Any) -> str | None:
    return next((reason for reason in reasons if reason), None)


def _wrong(expected: str, value: Any, where: str) -> str:
    return f"{where}: expected {expected}, got {type(value).__name__}"
