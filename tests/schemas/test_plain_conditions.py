"""Plain conditions in Python give what CEL gives, and what is not plain for certain is left to CEL."""

from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conditions import read_condition
from schemas.plain_conditions import in_python
from schemas.policy_variables import VARIABLES, VariableType, flat_name

INTS = ("customer.purchases", "event.amount_minor", "customer.queued")
DOUBLES = ("customer.churn_risk", "customer.days_since_purchase")
TEXTS = ("event.touchpoint", "event.source")

ints = st.integers(-(2**50), 2**50)
doubles = st.floats(-1e9, 1e9, allow_nan=False)
texts = st.text("abcXYZ 0-_.é", max_size=4)
compares = st.sampled_from(["==", "!=", "<=", ">=", "<", ">"])
quotes = st.sampled_from("'\"")
comparisons = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(INTS), compares, st.integers(0, 2**50)),
    st.builds("{}{}{}".format, st.sampled_from(DOUBLES), compares, st.floats(0, 1000).map(lambda x: f"{x:.3f}")),
    st.builds(
        lambda name, sign, quote, text: f"{name} {sign} {quote}{text}{quote}",
        st.sampled_from(TEXTS),
        st.sampled_from(["==", "!="]),
        quotes,
        texts,
    ),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("{} && {}".format, inner, inner),
        st.builds("{} || {}".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=8,
)
values = st.fixed_dictionaries(
    {
        **dict.fromkeys(INTS, st.one_of(ints, st.integers(0, 3))),
        **dict.fromkeys(DOUBLES, doubles),
        **dict.fromkeys(TEXTS, texts),
    }
)


def by_python(text: str, known: dict[str, Any]) -> Any:
    plain = in_python(text, VARIABLES)
    assert plain is not None
    expression, names = plain
    return eval(expression, {"__builtins__": {}}, {flat_name(name): known[name] for name in names})


@given(conditions, values)
def test_python_and_cel_agree(text: str, known: dict[str, Any]) -> None:
    """Whatever is compared and joined, in whatever order of `&&`, `||`, `!` and parentheses."""
    flat = text
    for name in known:
        flat = flat.replace(name, flat_name(name))
    expected = cel.compile(flat).execute({flat_name(name): value for name, value in known.items()})
    assert by_python(text, known) is expected


@given(ints, st.sampled_from(["==", "<=", ">"]))
def test_a_comparison_that_nearly_holds(value: int, sign: str) -> None:
    """At the border itself, where a slip of one would show."""
    for offset in (-1, 0, 1):
        text = f"customer.purchases {sign} {abs(value)}"
        known = {"customer.purchases": abs(value) + offset}
        assert by_python(text, known) is cel.compile(text.replace(".", "_")).execute(
            {"customer_purchases": abs(value) + offset}
        )


@pytest.mark.parametrize(
    "text",
    [
        "customer.purchases + 1 > 2",
        "double(customer.purchases) > 2.0",
        "'size' in event.attributes",
        "event.attributes['size'] == 'XL'",
        "event.source.startsWith('a')",
        "size(event.source) > 3",
        "customer.purchases > 0x10",
        "customer.purchases > 1u",
        "customer.purchases > 99999999999999999",
        "customer.churn_risk > 1e-3",
        "customer.churn_risk > .5",
        "event.source == 'it\\'s'",
        "event.source == r'raw'",
        "event.source == '''three'''",
        "event.source < 'b'",
        "1 < customer.purchases",
        "customer.purchases == customer.queued",
        "customer.purchases > 1 ? true : false",
        "true",
        "customer.purchases > -1",
        "customer.purchases > 1 // comment",
    ],
)
def test_what_is_not_plain_is_left_to_cel(text: str) -> None:
    """Functions, arithmetic, maps, other literals, escapes, comments: the library knows better."""
    assert in_python(text, VARIABLES) is None


def test_a_condition_of_other_types_is_left_to_cel() -> None:
    """Types that differ would be compared otherwise here."""
    for name, variable in VARIABLES.items():
        for literal, type_ in (("1", VariableType.INT), ("1.0", VariableType.DOUBLE), ("'a'", VariableType.STRING)):
            plain = in_python(f"{name} == {literal}", VARIABLES)
            assert (plain is not None) is (variable.type is type_)


def test_the_reader_says_the_same_in_python() -> None:
    """A condition that was checked carries its plain form."""
    condition, faults = read_condition('customer.purchases > 1 && !(event.source == "till")')
    assert not faults
    assert condition is not None
    assert condition.plain == (
        "((customer_purchases > 1) and (not (event_source == 'till')))",
        ("customer.purchases", "event.source"),
    )
