"""Avro readers and writers compiled to Python from a schema: the inner loop of schemas.codec.

Why not fastavro alone: its general reader walks the schema for each record; code written out for one schema reads an
Interaction in half of the time and writes it in little more than half (tests/benchmarks/codec.py prints both). It also
sees what fastavro lets pass: a negative union or enum index, a float or a bool where an integer belongs.
fastavro stays the judge: property tests hold that both read and write the same, and it resolves old schemas.

A reader takes (value, start) and returns the record; a writer takes (record, start) and returns bytes. Both raise
whatever comes first (IndexError, KeyError, TypeError, ValueError, struct.error); the codec says what it means.
Logical types are not looked at. Supported is what this contract's schemas use; anything else is a ValueError when
the schema is compiled, at import.
"""

from collections.abc import Callable, Mapping
from itertools import count
from struct import Struct
from typing import Any, Final

_DOUBLE: Final = Struct("<d")
_LONG_BITS: Final = 63
_INT_BITS: Final = 31

Reader = Callable[[bytes, int], dict[str, Any]]
Writer = Callable[[Mapping[str, Any], bytes], bytes]


class Overrun(ValueError):
    """The bytes do not end where the record does; `end` is where it does."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


def read_long(value: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint of at most 64 bits; return it and where it ends."""
    result, at = read_more(value, at + 1, value[at])
    return (result >> 1) ^ -(result & 1), at


def read_more(value: bytes, at: int, first: int) -> tuple[int, int]:
    """Read the rest of a varint whose first byte is given; return it, still zigzag, and where it ends.

    Written out for up to six bytes, which a time in milliseconds takes: three times as fast as the loop. What is
    subtracted are the continuation bits.
    """
    if first < 128:
        return first, at
    b = value[at]
    if b < 128:
        return first + (b << 7) - _BITS_1, at + 1
    c = value[at + 1]
    if c < 128:
        return first + (b << 7) + (c << 14) - _BITS_2, at + 2
    d = value[at + 2]
    if d < 128:
        return first + (b << 7) + (c << 14) + (d << 21) - _BITS_3, at + 3
    e = value[at + 3]
    if e < 128:
        return first + (b << 7) + (c << 14) + (d << 21) + (e << 28) - _BITS_4, at + 4
    result = first + (b << 7) + (c << 14) + (d << 21) + (e << 28) - _BITS_4 - (128 << 28)
    shift, at = 35, at + 4
    while True:
        byte = value[at]
        at += 1
        result += (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    if result >> 64:
        raise ValueError("a number of more than 64 bits")
    return result, at


_BITS_1: Final = 128
_BITS_2: Final = _BITS_1 + (128 << 7)
_BITS_3: Final = _BITS_2 + (128 << 14)
_BITS_4: Final = _BITS_3 + (128 << 21)


def read_length(value: bytes, at: int) -> tuple[int, int]:
    """Read the length of a string or bytes; return it and where it ends."""
    length, at = read_long(value, at)
    if length < 0:
        raise ValueError("a negative length")
    return length, at


def read_count(value: bytes, at: int) -> tuple[int, int]:
    """Read the number of items in a block, which a negative number and a size in bytes may stand for."""
    items, at = read_long(value, at)
    if items < 0:
        _, at = read_long(value, at)
    return abs(items), at


def write_long(number: Any, bits: int = _LONG_BITS) -> bytes:
    """Write a zigzag varint; TypeError when it is no integer, ValueError when it needs more bits."""
    if type(number) is not int:
        raise TypeError("not an integer")
    if not -(1 << bits) <= number < 1 << bits:
        raise ValueError("an integer out of range")
    rest = number << 1 if number >= 0 else (~number << 1) | 1
    if rest < 128:
        return _BYTES[rest]
    if rest >> 35 and rest < 1 << 42:  # a time in milliseconds
        low = ((rest & 127) | 128, (rest >> 7 & 127) | 128, (rest >> 14 & 127) | 128)
        return bytes((*low, (rest >> 21 & 127) | 128, (rest >> 28 & 127) | 128, rest >> 35))
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def write_text(text: str) -> bytes:
    """Write a string; TypeError when it is none."""
    data = _UTF8(text)
    size = len(data)
    return (_BYTES[size << 1] if size < 64 else write_long(size)) + data


def write_bytes(data: Any) -> bytes:
    """Write bytes; TypeError when they are none."""
    if type(data) is not bytes:
        raise TypeError("not bytes")
    return write_long(len(data)) + data


def write_double(number: Any) -> bytes:
    """Write a double; TypeError when it is no number."""
    if type(number) is bool:
        raise TypeError("not a number")
    return _DOUBLE.pack(number)


def write_boolean(value: Any) -> bytes:
    """Write a boolean; TypeError when it is none."""
    if type(value) is not bool:
        raise TypeError("not a boolean")
    return b"\1" if value else b"\0"


_UTF8: Final = str.encode
_BYTES: Final = tuple(bytes((n,)) for n in range(128))


def complete(record: Mapping[str, Any], fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in the defaults of absent fields; KeyError for a field that is undeclared."""
    for name in record:
        if name not in fields:
            raise KeyError(name)
    return {**{name: default for name, default in fields.items() if default is not _ABSENT}, **record}


_ABSENT: Final = object()


def compile_reader(schema: Any) -> Reader:
    """Return a reader of one record written by exactly this schema (as parsed by fastavro)."""
    source = _Source()
    source.add(0, "def read(b, i):")
    name = source.read(schema, 1)
    source.add(1, f"if i != len(b): raise Overrun(i)\n return {name}")
    return source.run("read")  # type: ignore[no-any-return]


def compile_writer(schema: Any) -> Writer:
    """Return a writer of one record by this schema (as parsed by fastavro)."""
    source = _Source()
    source.add(0, "def write(r, start):")
    source.add(1, "p = [start]; a = p.append")
    source.write(schema, "r", 1)
    source.add(1, 'return b"".join(p)')
    return source.run("write")  # type: ignore[no-any-return]


class _Source:
    """The source text of one function, and the constants that it refers to."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names = (f"v{n}" for n in count())
        self._records: dict[str, Any] = {}
        self._constants: dict[str, Any] = {
            "Overrun": Overrun,
            "read_more": read_more,
            "read_length": read_length,
            "read_count": read_count,
            "double": _DOUBLE.unpack_from,
            "write_long": write_long,
            "write_text": write_text,
            "write_bytes": write_bytes,
            "write_double": write_double,
            "write_boolean": write_boolean,
            "complete": complete,
            "UTF8": _UTF8,
            "BYTES": _BYTES,
        }

    def add(self, depth: int, line: str) -> None:
        self._lines.append(" " * depth + line)

    def run(self, name: str) -> Any:
        scope = dict(self._constants)
        exec(compile("\n".join(self._lines), f"<avro {name}>", "exec"), scope)  # noqa: S102 - our own text
        return scope[name]

    def _constant(self, value: Any) -> str:
        name = "K" + next(self._names)
        self._constants[name] = value
        return name

    def _named(self, schema: Any) -> Any:
        if isinstance(schema, str) and schema in self._records:
            return self._records[schema]
        if isinstance(schema, Mapping):
            if "name" in schema:
                self._records[schema["name"]] = schema
            if isinstance(schema["type"], Mapping) or (isinstance(schema["type"], str) and len(schema) == 1):
                return self._named(schema["type"])
        return schema

    # -- reading: each emits code that leaves the value in the variable whose name it returns

    def read(self, schema: Any, depth: int) -> str:
        schema = self._named(schema)
        if isinstance(schema, list):
            return self._read_union(schema, depth)
        if isinstance(schema, str):
            return self._read_primitive(schema, depth)
        try:
            reading = getattr(self, "_read_" + schema["type"])
        except AttributeError:
            raise ValueError(f"Avro type {schema['type']} is not supported") from None
        return str(reading(schema, depth))

    def _read_primitive(self, kind: str, depth: int) -> str:
        name = next(self._names)
        if kind in ("string", "bytes"):
            self.add(depth, "n = b[i]; i += 1")
            self.add(depth, "if n & 129: n, i = read_length(b, i - 1)")
            self.add(depth, "else: n >>= 1")
            decode = ".decode()" if kind == "string" else ""
            self.add(depth, f"{name} = b[i:i + n]{decode}; i += n")
        elif kind in ("int", "long"):
            self.add(depth, "n = b[i]; i += 1")
            self.add(depth, "if n > 127: n, i = read_more(b, i, n)")
            self.add(depth, f"{name} = n >> 1 if not n & 1 else ~(n >> 1)")
        elif kind == "double":
            self.add(depth, f"{name} = double(b, i)[0]; i += 8")
        elif kind == "boolean":
            self.add(depth, f"{name} = {self._constant({0: False, 1: True})}[b[i]]; i += 1")
        elif kind == "null":
            return "None"
        else:
            raise ValueError(f"Avro type {kind} is not supported")
        return name

    def _read_enum(self, schema: Any, depth: int) -> str:
        if len(schema["symbols"]) > 64:
            raise ValueError("an enum of more than 64 symbols is not supported")
        name, symbols = next(self._names), {2 * n: symbol for n, symbol in enumerate(schema["symbols"])}
        self.add(depth, f"{name} = {self._constant(symbols)}[b[i]]; i += 1")
        return name

    def _read_record(self, schema: Any, depth: int) -> str:
        pairs = [(field["name"], self.read(field["type"], depth)) for field in schema["fields"]]
        name = next(self._names)
        self.add(depth, f"{name} = {{{', '.join(f'{key!r}: {value}' for key, value in pairs)}}}")
        return name

    def _read_union(self, schema: list[Any], depth: int) -> str:
        name = next(self._names)
        self.add(depth, "n = b[i]; i += 1")
        for index, branch in enumerate(schema):
            self.add(depth, f"{'if' if index == 0 else 'elif'} n == {2 * index}:")
            self.add(depth + 1, f"{name} = {self.read(branch, depth + 1)}")
        self.add(depth, 'else: raise ValueError("an index outside of the union")')
        return name

    def _read_array(self, schema: Any, depth: int) -> str:
        name, left = next(self._names), next(self._names)
        self.add(depth, f"{name} = []; {left} = b[i]; i += 1")
        self.add(depth, f"if {left} & 129: {left}, i = read_count(b, i - 1)")
        self.add(depth, f"else: {left} >>= 1")
        self.add(depth, f"while {left}:")
        self.add(depth + 1, f"for _ in range({left}):")
        item = self.read(schema["items"], depth + 2)
        self.add(depth + 2, f"{name}.append({item})")
        self.add(depth + 1, f"{left} = b[i]; i += 1")
        self.add(depth + 1, f"if {left} & 129: {left}, i = read_count(b, i - 1)")
        self.add(depth + 1, f"else: {left} >>= 1")
        return name

    def _read_map(self, schema: Any, depth: int) -> str:
        name, left = next(self._names), next(self._names)
        self.add(depth, f"{name} = {{}}; {left} = b[i]; i += 1")
        self.add(depth, f"if {left} & 129: {left}, i = read_count(b, i - 1)")
        self.add(depth, f"else: {left} >>= 1")
        self.add(depth, f"while {left}:")
        self.add(depth + 1, f"for _ in range({left}):")
        key = self.read("string", depth + 2)
        item = self.read(schema["values"], depth + 2)
        self.add(depth + 2, f"{name}[{key}] = {item}")
        self.add(depth + 1, f"{left} = b[i]; i += 1")
        self.add(depth + 1, f"if {left} & 129: {left}, i = read_count(b, i - 1)")
        self.add(depth + 1, f"else: {left} >>= 1")
        return name

    # -- writing: each emits code that appends the bytes of an expression

    def write(self, schema: Any, value: str, depth: int) -> None:
        schema = self._named(schema)
        if isinstance(schema, list):
            self._write_union(schema, value, depth)
        elif isinstance(schema, str):
            self._write_primitive(schema, value, depth)
        else:
            getattr(self, "_write_" + schema["type"])(schema, value, depth)

    def _write_primitive(self, kind: str, value: str, depth: int) -> None:
        if kind == "null":
            return
        writers = {
            "string": "write_text({})",
            "bytes": "write_bytes({})",
            "int": f"write_long({{}}, {_INT_BITS})",
            "long": "write_long({})",
            "double": "write_double({})",
            "boolean": "write_boolean({})",
        }
        self.add(depth, f"a({writers[kind].format(value)})")

    def _write_enum(self, schema: Any, value: str, depth: int) -> None:
        symbols = {symbol: bytes((2 * n,)) for n, symbol in enumerate(schema["symbols"])}
        self.add(depth, f"a({self._constant(symbols)}[{value}])")

    def _write_record(self, schema: Any, value: str, depth: int) -> None:
        record = next(self._names)
        fields = {field["name"]: field.get("default", _ABSENT) for field in schema["fields"]}
        self.add(depth, f"{record} = {value}")
        self.add(depth, f"if len({record}) != {len(fields)}: {record} = complete({record}, {self._constant(fields)})")
        for field in schema["fields"]:
            self.write(field["type"], f"{record}[{field['name']!r}]", depth)

    def _write_union(self, schema: list[Any], value: str, depth: int) -> None:
        others = [index for index, branch in enumerate(schema) if self._test(branch, "") == "True"]
        if others not in ([], [len(schema) - 1]):
            raise ValueError("a union may have one type besides null and records, at its end")
        name = next(self._names)
        self.add(depth, f"{name} = {value}")
        word = "if"
        for index, branch in enumerate(schema):
            self.add(depth, f"{word} {self._test(branch, name)}:")
            self.add(depth + 1, f"a({bytes((2 * index,))!r})")
            self.write(branch, name, depth + 1)
            word = "elif"
        self.add(depth, 'else: raise ValueError("fits no type of the union")')

    def _test(self, branch: Any, name: str) -> str:
        branch = self._named(branch)
        if branch == "null":
            return f"{name} is None"
        if isinstance(branch, Mapping) and branch["type"] == "record":
            fields = {field["name"] for field in branch["fields"]}
            needed = {field["name"] for field in branch["fields"] if "default" not in field}
            return f"{self._constant(needed)} <= {name}.keys() <= {self._constant(fields)}"
        return "True"  # the writer of the branch checks the type

    def _write_array(self, schema: Any, value: str, depth: int) -> None:
        items, item = next(self._names), next(self._names)
        self.add(depth, f"{items} = {value}")
        self.add(depth, f"if type({items}) is not list: raise TypeError('not an array')")
        self.add(depth, f"if {items}:")
        self.add(depth + 1, f"a(write_long(len({items})))")
        self.add(depth + 1, f"for {item} in {items}:")
        self.write(schema["items"], item, depth + 2)
        self.add(depth, "a(b'\\0')")

    def _write_map(self, schema: Any, value: str, depth: int) -> None:
        items, key, item = next(self._names), next(self._names), next(self._names)
        self.add(depth, f"{items} = {value}")
        self.add(depth, f"if {items}:")
        self.add(depth + 1, f"a(write_long(len({items})))")
        self.add(depth + 1, f"for {key}, {item} in {items}.items():")
        self.add(depth + 2, f"a(write_text({key}))")
        self.write(schema["values"], item, depth + 2)
        self.add(depth, "a(b'\\0')")
