"""Conditions of policies: CEL over declared variables, checked before they can run.

What CEL's library does not refuse is refused here: an undeclared field (at run time a KeyError), an undeclared
function (a RuntimeError), operands of types that cannot be compared (a TypeError), and costs without limit
(length and nesting are capped, comprehensions are not allowed).

A checked condition is compiled with flat names (`customer_purchases` for `customer.purchases`), since handing
over a nested map costs ten times as much as its evaluation (tests/benchmarks/core.py).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import cel

from schemas.plain_conditions import in_python
from schemas.policy_variables import VARIABLES, Variable, VariableType, flat_name

LONGEST_CONDITION: Final = 1_000
DEEPEST_NESTING: Final = 16

FUNCTIONS: Final = ("size", "contains", "startsWith", "endsWith", "int", "double", "string", "has")
_WORDS: Final = ("true", "false", "null", "in")
_ROOTS: Final = ("customer", "event", "aggregate")

Variables = Mapping[str, Variable]

_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)
      |(?P<text>[rRbB]{0,2}(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
      |(?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?u?)
      |(?P<name>[A-Za-z_][A-Za-z_0-9]*)
      |(?P<sign>&&|\|\||==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)

_LISTED: Final = {"aggregate": "declare it under aggregates"}


class Fault(NamedTuple):
    """What is wrong with a condition: at which character, what, and what to do."""

    at: int
    message: str
    remedy: str


class Token(NamedTuple):
    """A piece of a condition: kind is blank, text, number, name or sign."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was checked. Equal if their texts are equal."""

    text: str
    variables: tuple[str, ...] = field(compare=False)
    """Full names of the variables that it refers to, sorted."""
    program: Any = field(compare=False, repr=False)
    """The compiled program over flat names."""
    needs_risk: bool = field(compare=False, default=False)
    """Whether it can only be decided for a customer with a risk score."""
    plain: tuple[str, tuple[str, ...]] | None = field(compare=False, default=None)
    """The same in Python where it is plain, see schemas/plain_conditions.py."""


def read_condition(text: str, variables: Variables = VARIABLES) -> tuple[Condition | None, list[Fault]]:
    """Check and compile a condition over `variables`; returns it, or None and everything that is wrong with it."""
    faults = list(_cap(text))
    if faults:
        return None, faults
    try:
        cel.compile(text)
    except Exception as error:  # noqa: BLE001 - the library raises ValueError, and others for what it did not expect
        return None, [_syntax_fault(text, str(error))]
    tokens = [token for token in _tokens(text) if token.kind != "blank"]
    faults = [*_reference_faults(tokens, variables), *_choice_faults(tokens, variables)]
    if faults:
        return None, sorted(faults)
    flat = flatten(text)
    try:
        program = cel.compile(flat)
    except Exception as error:  # noqa: BLE001 - e.g. has() of what is no key of event.attributes
        return None, [Fault(0, _syntax_fault(flat, str(error)).message, "has() is for keys of event.attributes only")]
    used = set(program.variables())
    names = tuple(sorted(name for name in variables if flat_name(name) in used))
    needs_risk = any(variables[name].needs_risk for name in names)
    condition = Condition(text, names, program, needs_risk, in_python(text, variables))
    fault = _type_fault(condition, flat, variables)
    return (None, [fault]) if fault else (condition, [])


def flatten(text: str) -> str:
    """Return the condition with `customer_purchases` for `customer.purchases` and so on."""
    pieces = list(_tokens(text))
    solid = [index for index, token in enumerate(pieces) if token.kind != "blank"]
    output = [" " if token.text.startswith("//") else token.text for token in pieces]
    for before, (first, dot, name) in zip([None, *solid], zip(solid, solid[1:], solid[2:], strict=False), strict=False):
        selected = before is not None and pieces[before].text == "."
        if pieces[first].text in _ROOTS and pieces[dot].text == "." and not selected:
            output[first] = flat_name(f"{pieces[first].text}.{pieces[name].text}")
            output[dot] = output[name] = ""
    return "".join(output)


def _tokens(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        yield Token(match.lastgroup or "sign", match.group(), match.start())


def _cap(text: str) -> Iterator[Fault]:
    if not text.strip():
        yield Fault(0, "the condition is empty", "leave the field out if there is no condition")
    if len(text) > LONGEST_CONDITION:
        yield Fault(
            LONGEST_CONDITION,
            f"the condition has {len(text)} characters, at most {LONGEST_CONDITION} are allowed",
            "split the action, or say it shorter",
        )
    depth = 0
    for token in _tokens(text):
        if token.kind == "sign" and token.text in "([{?!-":
            depth += token.text not in "?!-" or _runs_on(text, token)
            if depth > DEEPEST_NESTING:
                yield Fault(
                    token.at,
                    f"the condition is nested more than {DEEPEST_NESTING} deep",
                    "split the action, or say it flatter",
                )
                return
        elif token.kind == "sign" and token.text in ")]}":
            depth -= 1


def _runs_on(text: str, token: Token) -> bool:
    """Return whether a sign repeats itself, which nests without a parenthesis (`!!!x`, `a ? b ? ...`)."""
    return token.text == "?" or text[token.at + 1 : token.at + 2] == token.text


def _syntax_fault(text: str, message: str) -> Fault:
    match = re.search(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)", message)
    if match is None:
        return Fault(0, f"not a CEL expression: {message.splitlines()[0][:200]}", "correct the expression")
    line, column, says = int(match[1]), int(match[2]), match[3]
    at = sum(len(part) + 1 for part in text.split("\n")[: line - 1]) + column - 1
    says = re.sub(r" expecting .*", "", says).replace("mismatched input '<EOF>'", "the expression ends too early")
    return Fault(min(at, len(text)), f"not a CEL expression: {says[:200]}", "correct the expression")


def _reference_faults(tokens: list[Token], variables: Variables) -> Iterator[Fault]:
    for index, token in enumerate(tokens):
        if token.kind != "name" or token.text in _WORDS:
            continue
        before = tokens[index - 1].text if index else ""
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if after == "(":
            if token.text not in FUNCTIONS:
                yield Fault(
                    token.at,
                    f"the function {token.text} is not allowed in a condition",
                    f"use one of {', '.join(FUNCTIONS)}",
                )
        elif before == ".":
            continue
        elif token.text not in _ROOTS:
            yield Fault(
                token.at,
                f"the variable {token.text} is not declared",
                _guess(token.text, [*_ROOTS, *variables])
                or "refer to customer.<field>, event.<field> or aggregate.<id>",
            )
        elif after != "." or index + 2 >= len(tokens):
            yield Fault(token.at, f"{token.text} stands alone", f"name a field of it: {token.text}.<field>")
        else:
            name = f"{token.text}.{tokens[index + 2].text}"
            if name not in variables:
                yield Fault(
                    tokens[index + 2].at,
                    f"the field {name} is not declared",
                    _guess(name, list(variables))
                    or _LISTED.get(token.text, "`attune policy variables` lists the fields"),
                )
            elif variables[name].type is not VariableType.MAP and _selects(tokens, index + 3):
                yield Fault(tokens[index + 3].at, f"{name} has no fields of its own", "compare it as it is")


def _selects(tokens: list[Token], index: int) -> bool:
    """Return whether `.name` without a call, or `[`, follows."""
    text = [token.text for token in tokens[index : index + 3]]
    return text[:1] == ["["] or (text[:1] == ["."] and text[2:] != ["("])


def _choice_faults(tokens: list[Token], variables: Variables) -> Iterator[Fault]:
    """Find a comparison of a variable with a text that it can never be, such as a misspelt event type."""
    for index in range(len(tokens) - 4):
        root, dot, name, operator, literal = tokens[index : index + 5]
        variable = variables.get(f"{root.text}{dot.text}{name.text}")
        if variable is None or not variable.choices or operator.text not in ("==", "!=") or literal.kind != "text":
            continue
        value = literal.text.strip("'\"")
        if value not in variable.choices:
            yield Fault(
                literal.at,
                f"{root.text}.{name.text} is never {literal.text}",
                _guess(value, list(variable.choices)) or f"one of {', '.join(variable.choices)}",
            )


def _type_fault(condition: Condition, flat: str, variables: Variables) -> Fault | None:
    """Try it on examples: as it is, whose result must be a truth, and with every operand evaluated.

    `false && x` is false whatever x, so a wrong x would hide. In the second form each `&&` and `||` is an `==`
    of parenthesised operands, which evaluates both.
    """
    example = {flat_name(name): variables[name].example for name in condition.variables}
    strict = "".join(_STRICT.get(t.text, t.text) if t.kind == "sign" else t.text for t in _tokens(flat))
    try:
        for program in (condition.program, cel.compile(f"({strict})")):
            result = program.execute(example)
    except KeyError:
        return None  # a key of event.attributes; whether it is there, only the event can say
    except TypeError:
        return Fault(
            0,
            "the condition mixes types that cannot be compared or computed with",
            "compare int with int and double with double (1.0, not 1, in a sum); convert by double(x) or int(x); "
            "`attune policy variables` lists the types",
        )
    except Exception as error:  # noqa: BLE001 - whatever the library raises for a condition that cannot be evaluated
        return Fault(0, f"the condition cannot be evaluated: {str(error).splitlines()[0]}", "correct the expression")
    if not isinstance(result, bool):
        return Fault(0, f"the condition is {type(result).__name__}, not true or false", "compare it with something")
    return None


_STRICT: Final = {
    "(": "((",
    ")": "))",
    "[": "[(",
    "]": ")]",
    "{": "{(",
    "}": ")}",
    ",": "),(",
    "&&": ")==(",
    "||": ")==(",
    "?": ")?(",
    ":": "):(",
}


def _guess(word: str, words: list[str]) -> str:
    close = get_close_matches(word, words, n=1)
    return f"did you mean {close[0]}?" if close else ""
