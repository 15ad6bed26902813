"""Plain conditions, said in Python: comparisons of a variable with a number or a text, joined by `&&`, `||`, `!`.

Most conditions of most packs are plain, and handing a variable to CEL costs more than the whole comparison in Python
(tests/benchmarks/core.py). What is not plain for certain, this module leaves to CEL, which stays the judge:
tests/schemas/test_plain_conditions.py holds that both give the same for generated conditions and values.

Only operands of one type are plain: an int with an int, a double with a double, a text with a text by `==` and `!=`.
"""

import re
from collections.abc import Mapping
from typing import Final

from schemas.policy_variables import Variable, VariableType, flat_name

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<variable>(?:customer|event|aggregate)\.[A-Za-z_][A-Za-z_0-9]*)(?![\w.\[(])
      | (?P<double>[0-9]+\.[0-9]+)(?![\w.])
      | (?P<int>[0-9]+)(?![\w.])
      | (?P<text>'[^'"\\\n]*'|"[^'"\\\n]*")
      | (?P<sign>&&|\|\||==|!=|<=|>=|<|>|!|\(|\))
    )""",
    re.VERBOSE,
)
_JOIN: Final = {"&&": "and", "||": "or"}
_COMPARES: Final = ("==", "!=", "<=", ">=", "<", ">")
_LITERAL: Final = {VariableType.INT: "int", VariableType.DOUBLE: "double", VariableType.STRING: "text"}
_LARGEST: Final = 2**53

Token = tuple[str, str]


class _NotPlain(Exception):
    """The condition is for CEL."""


def in_python(text: str, variables: Mapping[str, Variable]) -> tuple[str, tuple[str, ...]] | None:
    """Return a checked condition as a Python expression, and its variables; None where it is not plain.

    In the expression a variable stands under its flat name, `customer_purchases` for customer.purchases.
    """
    try:
        parser = _Parser(_tokens(text), variables)
        return parser.whole(), tuple(parser.names)
    except _NotPlain:
        return None


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise _NotPlain
        kind = match.lastgroup
        assert kind is not None
        tokens.append((kind, match[kind]))
        place = match.end()
    return tokens


class _Parser:
    """Recursive descent: or, and, not, comparison; CEL binds them in the same order."""

    def __init__(self, tokens: list[Token], variables: Mapping[str, Variable]) -> None:
        self._tokens = tokens
        self._place = 0
        self._variables = variables
        self.names: list[str] = []

    def whole(self) -> str:
        found = self._joined("||")
        if self._place != len(self._tokens):
            raise _NotPlain
        return found

    def _peek(self) -> Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else ("end", "")

    def _take(self) -> Token:
        token = self._peek()
        self._place += 1
        return token

    def _joined(self, sign: str) -> str:
        parts = [self._joined("&&") if sign == "||" else self._negated()]
        while self._peek() == ("sign", sign):
            self._place += 1
            parts.append(self._joined("&&") if sign == "||" else self._negated())
        return f"({f' {_JOIN[sign]} '.join(parts)})" if len(parts) > 1 else parts[0]

    def _negated(self) -> str:
        if self._peek() == ("sign", "!"):
            self._place += 1
            return f"(not {self._group()})"
        if self._peek() == ("sign", "("):
            return self._group()
        return self._comparison()

    def _group(self) -> str:
        if self._take() != ("sign", "("):
            raise _NotPlain
        found = self._joined("||")
        if self._take() != ("sign", ")"):
            raise _NotPlain
        return found

    def _comparison(self) -> str:
        (left_kind, left), (sign_kind, sign), (right_kind, right) = self._take(), self._take(), self._take()
        if left_kind != "variable" or sign_kind != "sign" or sign not in _COMPARES:
            raise _NotPlain
        variable = self._variables.get(left)
        if variable is None or _LITERAL.get(variable.type) != right_kind:
            raise _NotPlain
        if right_kind == "text":
            if sign not in ("==", "!="):
                raise _NotPlain
            right = repr(right[1:-1])
        elif float(right) >= _LARGEST:
            raise _NotPlain
        else:
            right = repr(int(right)) if right_kind == "int" else repr(float(right))
        if left not in self.names:
            self.names.append(left)
        return f"({flat_name(left)} {sign} {right})"
