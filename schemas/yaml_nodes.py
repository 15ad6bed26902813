"""YAML read node by node, so that everything found wrong has a line and a column, and all of it is found.

A `Node` answers with a value of the type asked for, or notes a fault and answers None.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

import yaml

Choice = TypeVar("Choice", bound=StrEnum)

LONGEST_TEXT: Final = 10_000
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
        """Short name of the YAML type: str, int, float, bool, null, map, seq, timestamp."""
        return self._node.tag.rpartition(":")[2]

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
                node.fault_at_key(f"unknown field {name!r}", remedy)
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
            node = Entry(key, value, f"{self.path}.{name}" if self.path else name, self._faults, self._source)
            if name in found:
                node.fault_at_key(f"the field {name!r} stands here twice", "leave one out")
            elif key.tag != "tag:yaml.org,2002:str":
                node.fault_at_key(f"the key {name!r} is no text", "put it in quotes")
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
        if pattern is not None and not re.fullmatch(pattern, value):
            self.fault(f"{value[:60]!r} is not {says}", f"write {says}")
            return None
        return value

    def whole(self, low: int, high: int) -> int | None:
        """Return a whole number from low to high."""
        if self.kind != "int" or not isinstance(self._node, yaml.ScalarNode):
            self._wrong("a whole number")
            return None
        value = int(yaml.SafeLoader("").construct_yaml_int(self._node))
        return value if self._within(value, low, high) else None

    def number(self, low: float, high: float) -> float | None:
        """Return a number from low to high."""
        if self.kind not in ("int", "float") or not isinstance(self._node, yaml.ScalarNode):
            self._wrong("a number")
            return None
        loader = yaml.SafeLoader("")
        construct = loader.construct_yaml_int if self.kind == "int" else loader.construct_yaml_float
        value = float(construct(self._node))
        return value if self._within(value, low, high) else None

    def truth(self) -> bool | None:
        """Return true or false."""
        if self.kind != "bool" or not isinstance(self._node, yaml.ScalarNode):
            self._wrong("true or false")
            return None
        return bool(yaml.SafeLoader("").construct_yaml_bool(self._node))

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

    def _within(self, value: float, low: float, high: float) -> bool:
        inside = low <= value <= high
        if not inside:
            self.fault(f"{value} is out of bounds", f"choose {low} to {high}")
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


def document(source: str, faults: list[NodeFault]) -> Node | None:
    """Compose a document; None and a fault when it is no YAML or not one mapping."""
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        faults.append(NodeFault(line, column, "", f"not YAML: {error.problem}", "correct the indentation or quoting"))
        return None
    except (yaml.YAMLError, RecursionError) as error:
        faults.append(NodeFault(1, 1, "", f"not YAML: {str(error)[:200]}", "save the document as UTF-8 text"))
        return None
    if not isinstance(root, yaml.MappingNode):
        faults.append(NodeFault(1, 1, "", "the document is not a mapping", "write fields such as `name: ...`"))
        return None
    return Node(root, "", faults, source)


Fields = Mapping[str, Node]
