"""Avro readers and writers compiled to Python from a schema: the inner loop of schemas.codec.

Why not fastavro alone: its general reader walks the schema for each record; code written out for one schema reads an
Interaction in six tenths of the time and writes it in half of it (tests/benchmarks/codec.py prints both). It also sees
what fastavro lets pass: a negative union or enum index, a float or a bool where an integer belongs.
fastavro stays the judge: property tests hold that both read and write the same, and it resolves old schemas.

A reader takes (value, start) and returns the record; a writer takes (record, start) and returns bytes; a skipper looks
for the last field without reading those before it. All raise whatever comes first (IndexError, KeyError, TypeError,
ValueError, struct.error); the codec says what it means.
Logical types are not looked at. Supported is what this contract's schemas use; anything else is a ValueError when
the schema is compiled, at import.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from schemas import primitives

Reader = Callable[[bytes, int], dict[str, Any]]
Writer = Callable[[Mapping[str, Any], bytes], bytes]


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


def compile_skipper(schema: Any) -> Callable[[bytes, int], int]:
    """Return a function of (value, start) that returns where the last field of a record begins.

    It goes where the reader goes and builds nothing; what a reader takes, it takes in the same places or raises.
    """
    source = _Source()
    source.add(0, "def skip(b, i):")
    for field in schema["fields"][:-1]:
        source.skip(field["type"], 1)
    source.add(1, "return i")
    return source.run("skip")  # type: ignore[no-any-return]


def compile_writer(schema: Any) -> Writer:
    """Return a writer of one record by this schema (as parsed by fastavro)."""
    source = _Source()
    source.add(0, "def write(r, start):")
    source.add(1, "p = [start]; a = p.append")
    source.write(schema, "r", 1)
    source.add(1, 'return b"".join(p)')
    return source.run("write")  # type: ignore[no-any-return]


def _symbols(schema: Any) -> Iterator[tuple[int, str]]:
    """Yield (index as it is encoded, symbol) of an enum whose every index fits one byte."""
    if len(schema["symbols"]) > 64:
        raise ValueError(f"{schema['name']}: an enum of more than 64 symbols is not supported")
    return ((2 * n, symbol) for n, symbol in enumerate(schema["symbols"]))


class _Source:
    """The source text of one function, and the constants that it refers to."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names = (f"v{n}" for n in count())
        self._records: dict[str, Any] = {}
        self._constants: dict[str, Any] = {
            **{name: value for name, value in vars(primitives).items() if not name.startswith("_")},
            "LENGTHS": primitives.ONE_BYTE[::2],
            "double": primitives.DOUBLE.unpack_from,
            "complete": complete,
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

    def _method(self, does: str, schema: Any) -> Callable[..., Any]:
        method: Callable[..., Any] | None = getattr(self, does + schema["type"], None)
        if method is None:
            raise ValueError(f"Avro type {schema['type']} is not supported")
        return method

    # -- reading: each emits code that leaves the value in the variable whose name it returns

    def read(self, schema: Any, depth: int) -> str:
        schema = self._named(schema)
        if isinstance(schema, list):
            return self._read_union(schema, depth)
        if isinstance(schema, str):
            return self._read_primitive(schema, depth)
        return str(self._method("_read_", schema)(schema, depth))

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
        name, symbols = next(self._names), dict(_symbols(schema))
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
        name = next(self._names)
        self.add(depth, f"{name} = []")
        with self._blocks(depth) as inner:
            self.add(inner, f"{name}.append({self.read(schema['items'], inner)})")
        return name

    def _read_map(self, schema: Any, depth: int) -> str:
        name = next(self._names)
        self.add(depth, f"{name} = {{}}")
        with self._blocks(depth) as inner:
            key = self.read("string", inner)
            self.add(inner, f"{name}[{key}] = {self.read(schema['values'], inner)}")
        return name

    @contextmanager
    def _blocks(self, depth: int) -> Iterator[int]:
        """Emit the loops over blocks and their items, around what is emitted in the body at the depth given."""
        left = next(self._names)

        def next_count(at: int) -> None:
            self.add(at, f"{left} = b[i]; i += 1")
            self.add(at, f"if {left} & 129: {left}, i = read_count(b, i - 1)")
            self.add(at, f"else: {left} >>= 1")

        next_count(depth)
        self.add(depth, f"while {left}:")
        self.add(depth + 1, f"for _ in range({left}):")
        yield depth + 2
        next_count(depth + 1)

    # -- skipping: each emits code that moves on to the byte behind a value

    def skip(self, schema: Any, depth: int) -> None:
        schema = self._named(schema)
        if isinstance(schema, list):
            self.add(depth, "n = b[i]; i += 1")
            for index, branch in enumerate(schema):
                self.add(depth, f"{'if' if index == 0 else 'elif'} n == {2 * index}:")
                self.add(depth + 1, "pass")
                self.skip(branch, depth + 1)
            self.add(depth, 'else: raise ValueError("an index outside of the union")')
        elif isinstance(schema, str):
            self._skip_primitive(schema, depth)
        elif schema["type"] == "enum":
            self.add(depth, "i += 1")
        elif schema["type"] == "map":
            with self._blocks(depth) as inner:
                self.skip("string", inner)
                self.skip(schema["values"], inner)
        else:
            raise ValueError(f"Avro type {schema['type']} is not supported")

    def _skip_primitive(self, kind: str, depth: int) -> None:
        if kind in ("string", "bytes"):
            self.add(depth, "n = b[i]; i += 1")
            self.add(depth, "if n & 129: n, i = read_length(b, i - 1); i += n")
            self.add(depth, "else: i += n >> 1")
        elif kind in ("int", "long"):
            self.add(depth, "while b[i] > 127: i += 1")
            self.add(depth, "i += 1")
        elif kind != "null":
            raise ValueError(f"Avro type {kind} is not supported")

    # -- writing: each emits code that appends the bytes of an expression

    def write(self, schema: Any, value: str, depth: int) -> None:
        schema = self._named(schema)
        if isinstance(schema, list):
            self._write_union(schema, value, depth)
        elif isinstance(schema, str):
            self._write_primitive(schema, value, depth)
        else:
            self._method("_write_", schema)(schema, value, depth)

    def _write_primitive(self, kind: str, value: str, depth: int) -> None:
        if kind == "null":
            return
        writers = {
            "bytes": "write_bytes({})",
            "int": f"write_long({{}}, {primitives.INT_BITS})",
            "long": "write_long({})",
            "double": "write_double({})",
            "boolean": "write_boolean({})",
        }
        if kind == "string":  # in line: most fields are strings
            self.add(depth, f"t = UTF8({value}); n = len(t)")
            self.add(depth, "a(LENGTHS[n] if n < 64 else write_long(n)); a(t)")
            return
        if kind not in writers:
            raise ValueError(f"Avro type {kind} is not supported")
        self.add(depth, f"a({writers[kind].format(value)})")

    def _write_enum(self, schema: Any, value: str, depth: int) -> None:
        symbols = {symbol: bytes((index,)) for index, symbol in _symbols(schema)}
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
        self.add(depth, f"if type({items}) is Written: a({items})")
        self.add(depth, "else:")
        self.add(depth + 1, f"if type({items}) is not list: raise TypeError('not an array')")
        self.add(depth + 1, f"if {items}:")
        self.add(depth + 2, f"a(write_long(len({items})))")
        self.add(depth + 2, f"for {item} in {items}:")
        self.write(schema["items"], item, depth + 3)
        self.add(depth + 1, "a(b'\\0')")

    def _write_map(self, schema: Any, value: str, depth: int) -> None:
        items, key, item = next(self._names), next(self._names), next(self._names)
        self.add(depth, f"{items} = {value}")
        self.add(depth, f"if {items}:")
        self.add(depth + 1, f"a(write_long(len({items})))")
        self.add(depth + 1, f"for {key}, {item} in {items}.items():")
        self.write("string", key, depth + 2)
        self.write(schema["values"], item, depth + 2)
        self.add(depth, "a(b'\\0')")
