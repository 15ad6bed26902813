"""YAML read node by node, so that everything found wrong has a line and a column, and all of it is found.

A `Node` answers with a value of the type asked for, or notes a fault and answers None.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import yaml

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")

LONGEST_TEXT: Final = 10_000
LONGEST_NUMBER: Final = 300
"""Characters of a number as it is written: what is longer costs more to convert than it can say."""
DEEPEST_NESTING: Final = 40
_SHOWN: Final = 60
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_KIND: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "map": "a mapping",
    "seq": "a list",
    "timestamp": "a date",
}
_UNCONVERTIBLE: Final = (ArithmeticError, LookupError, ValueError)
"""What YAML's library raises for a word under a number's tag, for no digits, and for more than a number can hold."""
_LINE_END: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where a line ends for YAML."""


class NodeFault(NamedTuple):
    """What is wrong where; line and column from 1."""

    line: int
    column: int
    where: str
    message: str
    remedy: str


class Node:
    """One node of a document, the path to it, and the list that takes the faults."""

    def __init__(self, node: yaml.Node, path: str, faults: list[NodeFault], source: str) -> None:
        """Take a composed node; `source` is the document's text."""
        self._node = node
        self.path = path
        self._faults = faults
        self._source = source

    @property
    def kind(self) -> str:
        """Short name of the YAML type: str, int, float, bool, null, map, seq, timestamp.

        A mapping and a list are that under whatever tag: only a scalar becomes a value by its tag.
        """
        if isinstance(self._node, yaml.MappingNode):
            return "map"
        if isinstance(self._node, yaml.SequenceNode):
            return "seq"
        return str(self._node.tag).rpartition(":")[2]

    def fault(self, message: str, remedy: str, at: int | None = None) -> None:
        """Note a fault here, or at a character of this scalar's value."""
        mark = self._node.start_mark
        line, column = mark.line, mark.column
        if at is not None:
            line, column = self._position(at)
        self._faults.append(NodeFault(line + 1, column + 1, self.path, message, remedy))

    def fault_at_key(self, message: str, remedy: str) -> None:
        """Note a fault at the name of the field whose value this is."""
        self.fault(message, remedy)

    def mapping(self, fields: Iterable[str], required: Iterable[str] = ()) -> dict[str, "Node"]:
        """Return the fields that are there; unknown, doubled and missing ones are faults."""
        known = list(fields)
        found = self.entries()
        for name, node in list(found.items()):
            if known and name not in known:
                close = get_close_matches(name, known, n=1)
                remedy = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(known)}"
                node.fault_at_key(f"unknown field {_cut(repr(name))}", remedy)
                del found[name]
        if isinstance(self._node, yaml.MappingNode):
            for name in required:
                if name not in found:
                    self.fault(f"the field {name!r} is missing", "add it")
        return found

    def entries(self) -> dict[str, "Node"]:
        """Return a mapping with any text keys."""
        if not isinstance(self._node, yaml.MappingNode):
            self._wrong("a mapping")
            return {}
        found: dict[str, Node] = {}
        for key, value in self._node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            shown = name if name.isprintable() else repr(name)
            path = f"{self.path}.{shown[:_SHOWN]}" if self.path else shown[:_SHOWN]
            node = Entry(key, value, path, self._faults, self._source)
            if (half := _half(name)) is not None:
                node.fault_at_key(*half)
            elif name in found:
                node.fault_at_key(f"the field {_cut(repr(name))} stands here twice", "leave one out")
            elif key.tag != "tag:yaml.org,2002:str":
                node.fault_at_key(f"the key {_cut(repr(name))} is no text", "put it in quotes")
            else:
                found[name] = node
        return found

    def items(self) -> list["Node"]:
        """Return the elements of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self._wrong("a list")
            return []
        return [
            Node(node, f"{self.path}[{index}]", self._faults, self._source)
            for index, node in enumerate(self._node.value)
        ]

    def text(self, pattern: str | None = None, says: str = "") -> str | None:
        """Return a text, not empty, that matches a pattern; `says` describes the pattern."""
        if self.kind != "str":
            hint = "; put it in quotes" if isinstance(self._node, yaml.ScalarNode) else ""
            self._wrong("a text", f"write a text{hint}")
            return None
        value = str(self._node.value)
        if not value.strip() or len(value) > LONGEST_TEXT:
            self.fault(f"the text has {len(value)} characters", f"write 1 to {LONGEST_TEXT}")
            return None
        if (half := _half(value)) is not None:
            self.fault(*half)
            return None
        if pattern is not None and not re.fullmatch(pattern, value):
            self.fault(f"{value[:60]!r} is not {says}", f"write {says}")
            return None
        return value

    def whole(self, low: int, high: int) -> int | None:
        """Return a whole number from low to high."""
        if self.kind != "int":
            self._wrong("a whole number")
            return None
        value = self._converted(yaml.SafeLoader.construct_yaml_int, "no whole number", f"{low} to {high}")
        return value if value is not None and self._within(value, low, high) else None

    def number(self, low: float, high: float) -> float | None:
        """Return a number from low to high."""
        if self.kind not in ("int", "float"):
            self._wrong("a number")
            return None
        construct = yaml.SafeLoader.construct_yaml_int if self.kind == "int" else yaml.SafeLoader.construct_yaml_float
        value = self._converted(lambda loader, node: float(construct(loader, node)), "no number", f"{low} to {high}")
        return value if value is not None and self._within(value, low, high) else None

    def truth(self) -> bool | None:
        """Return true or false."""
        if self.kind != "bool":
            self._wrong("true or false")
            return None
        return self._converted(yaml.SafeLoader.construct_yaml_bool, "neither true nor false", "true or false")

    def duration_ms(self, low: str, high: str) -> int | None:
        """Return a duration such as `90s`, `30m`, `12h`, `7d`, `2w` in milliseconds."""
        value = self.text(r"[0-9]{1,6}[smhdw]", "a duration such as 30m, 12h or 7d")
        if value is None:
            return None
        if not _duration(low) <= _duration(value) <= _duration(high):
            self.fault(f"{value} is out of bounds", f"choose {low} to {high}")
            return None
        return _duration(value)

    def choice(self, choices: Iterable[Choice]) -> Choice | None:
        """Return one of the choices by its text; upper and lower case are the same."""
        listed = list(choices)
        value = self.text()
        if value is None:
            return None
        for option in listed:
            if option.value.lower() == value.lower():
                return option
        words = [option.value for option in listed]
        close = get_close_matches(value, words, n=1) or get_close_matches(value.upper(), words, n=1)
        self.fault(
            f"{value[:60]!r} is not known here", f"did you mean {close[0]}?" if close else f"one of {', '.join(words)}"
        )
        return None

    def _converted(
        self, construct: Callable[[yaml.SafeLoader, yaml.ScalarNode], Value], otherwise: str, wanted: str
    ) -> Value | None:
        """Return what YAML's library makes of this scalar; a fault and None where it cannot."""
        assert isinstance(self._node, yaml.ScalarNode)
        written = str(self._node.value)
        if len(written) > LONGEST_NUMBER:
            self.fault(f"{_cut(written)} has {len(written)} characters", f"choose {wanted}")
            return None
        try:
            return construct(yaml.SafeLoader(""), self._node)
        except _UNCONVERTIBLE:
            self.fault(f"{_cut(repr(written))} is {otherwise}", f"write {wanted}")
            return None

    def _within(self, value: float, low: float, high: float) -> bool:
        inside = low <= value <= high
        if not inside:
            self.fault(f"{_cut(str(value))} is out of bounds", f"choose {low} to {high}")
        return inside

    def _wrong(self, wanted: str, remedy: str = "") -> None:
        self.fault(f"{_KIND.get(self.kind, self.kind)} stands where {wanted} is expected", remedy or f"write {wanted}")

    def _position(self, at: int) -> tuple[int, int]:
        """Return line and column (from 0) of a character of this scalar's value, whatever style it is written in."""
        mark, style, value = self._node.start_mark, getattr(self._node, "style", None), str(self._node.value)
        source = self._source
        index = mark.index + (1 if style in ("'", '"') else 0)
        if style in ("|", ">"):
            index = source.find("\n", index) + 1
        place = index
        for character in value[: at + 1]:
            if character.isspace():
                continue
            found = source.find(character, index, self._node.end_mark.index)
            if found < 0:
                break
            place, index = found, found + 1
        else:
            if at >= len(value):
                place = index
        return source.count("\n", 0, place), place - (source.rfind("\n", 0, place) + 1)


class Entry(Node):
    """The value of a field, which also knows where the field's name stands."""

    def __init__(self, key: yaml.Node, value: yaml.Node, path: str, faults: list[NodeFault], source: str) -> None:
        super().__init__(value, path, faults, source)
        self._key = key

    def fault_at_key(self, message: str, remedy: str) -> None:
        """Note a fault at the field's name."""
        mark = self._key.start_mark
        self._faults.append(NodeFault(mark.line + 1, mark.column + 1, self.path, message, remedy))


def _duration(text: str) -> int:
    return int(text[:-1]) * _UNIT_MS[text[-1]]


def _cut(text: str) -> str:
    """Return a text short enough to be quoted."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _half(text: str) -> tuple[str, str] | None:
    """Return what is wrong with a text that has half a character in it: by an escape, since UTF-8 has none."""
    for character in text:
        if "\ud800" <= character <= "\udfff":
            return f"\\u{ord(character):x} stands for no character", "write the character itself, in UTF-8"
    return None


class _Loader(yaml.SafeLoader):
    """Composes nodes; nesting that nobody writes by hand is an error at its place, not one of Python's stack."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self._depth >= DEEPEST_NESTING:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST_NESTING} deep", problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def document(source: str, faults: list[NodeFault]) -> Node | None:
    """Compose a document; None and a fault when it is no YAML or not one mapping."""
    loader: _Loader | None = None
    line, column, remedy = 1, 1, "correct the indentation or quoting"
    try:
        loader = _Loader(source)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problem = str(error.problem)
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            line, column = mark.line + 1, mark.column + 1
    except yaml.reader.ReaderError as error:
        problem, remedy = f"the character #x{error.character:04x} is not allowed", "leave it out"
        *before, last = _LINE_END.split(source[: error.position])
        line, column = len(before) + 1, len(last) + 1
    except (ValueError, OverflowError):
        # The scanner converts the digits of an escape, or of a directive's version, before it goes on behind them.
        assert loader is not None
        line, column = loader.line + 1, loader.column + 1
        problem, remedy = "these digits stand for no character and no version", "write the character itself, in UTF-8"
    else:
        if isinstance(root, yaml.MappingNode):
            return Node(root, "", faults, source)
        faults.append(NodeFault(1, 1, "", "the document is not a mapping", "write fields such as `name: ...`"))
        return None
    faults.append(NodeFault(line, column, "", f"not YAML: {problem}", remedy))
    return None


Fields = Mapping[str, Node]
