"""Conditions: what may stand in them, and that they mean what CEL says."""

from typing import Any

import cel
import pytest
from cel_expr_python import cel as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.conditions import DEEPEST_NESTING, LONGEST_CONDITION, flatten, read_condition
from schemas.policy_variables import VARIABLES, VariableType, flat_name
from schemas.vocabulary import Channel, EventType

INTS = ["customer.purchases", "customer.open_disputes", "event.amount_minor"]
DOUBLES = ["customer.churn_risk", "customer.days_since_purchase", "event.age_hours"]
TEXTS = ["event.type", "event.touchpoint"]

T = oracle.Type
ENVIRONMENT = oracle.NewEnv(
    variables={
        **dict.fromkeys(INTS, T.INT),
        **dict.fromkeys(DOUBLES, T.DOUBLE),
        **dict.fromkeys(TEXTS, T.STRING),
        "event.attributes": T.Map(T.STRING, T.STRING),
    }
)

comparisons = (
    st.builds(
        "{} {} {}".format, st.sampled_from(INTS), st.sampled_from(["<", "<=", "==", "!=", ">"]), st.integers(-9, 99)
    )
    | st.builds(
        "{} {} {}".format,
        st.sampled_from(DOUBLES),
        st.sampled_from(["<", "<=", ">", ">="]),
        st.floats(-9, 99).map(lambda number: f"{number:.3f}"),
    )
    | st.builds(
        "event.touchpoint {} '{}'".format,
        st.sampled_from(["==", "!="]),
        st.sampled_from(["a", "b", "customer.purchases"]),
    )
    | st.builds("event.touchpoint.startsWith('{}')".format, st.sampled_from(["a", ""]))
    | st.builds("('{0}' in event.attributes && event.attributes['{0}'] == 'a')".format, st.sampled_from(["a", "b"]))
    | st.builds("{} * 2 - {} > 1".format, st.sampled_from(INTS), st.sampled_from(INTS))
)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
    max_leaves=5,
)
situations = st.fixed_dictionaries(
    {
        **{name: st.integers(-9, 99) for name in INTS},
        **{name: st.floats(-9, 99) for name in DOUBLES},
        **{name: st.sampled_from(["a", "b", "ab"]) for name in TEXTS},
        "event.attributes": st.dictionaries(st.sampled_from("ab"), st.sampled_from("ab")),
    }
)


@settings(max_examples=300, deadline=None)
@given(conditions, situations)
def test_a_flat_condition_means_what_googles_cel_says(text: str, situation: dict[str, Any]) -> None:
    """Ours, over flat names and by another implementation, decides as the reference does."""
    condition, faults = read_condition(text)
    assert condition is not None, faults
    expected = ENVIRONMENT.compile(text).eval(data=situation).value()
    flat = {flat_name(name): value for name, value in situation.items()}
    assert condition.program.execute(flat) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("customer.purchases > 3 " + "&& true " * 150, "at most"),
        ("(" * 17 + "true" + ")" * 17, "nested more than"),
        ("!" * 40 + "true", "nested more than"),
        ("true" + " ? true : false" * 20, "nested more than"),
        ("[1, 2].all(x, x > 0)", "all is not allowed"),
        ("event.type.matches('.*')", "matches is not allowed"),
        ("customer", "stands alone"),
        ("customer == event", "stands alone"),
        ("customer['purchases'] > 3", "stands alone"),
        ("customer.purchases.total > 3", "has no fields"),
        ("customer_purchases > 3", "customer_purchases is not declared"),
        ("has(customer.purchases)", "not a CEL expression"),
        ("event.type == 'purchase.mad'", "is never"),
        ('event.channel != "FAX"', "is never"),
        ("customer.purchases + 0.5 > 1.0", "mixes types"),
        ("event.touchpoint > 3", "mixes types"),
        ("true || event.touchpoint > 3", "mixes types"),
        ("customer.purchases", "is int, not true or false"),
        ("'yes'", "is str, not true or false"),
        ("1 / 0 == 1", "cannot be evaluated"),
        ("// nothing", "not a CEL expression"),
    ],
)
def test_what_may_not_stand_in_a_condition(text: str, message: str) -> None:
    """Each is refused when the policy is checked, not when a customer is waiting."""
    condition, faults = read_condition(text)
    assert condition is None
    assert message in faults[0].message
    assert all(0 <= fault.at <= len(text) and fault.remedy for fault in faults)


@pytest.mark.parametrize(
    "text",
    [
        "customer.purchases > 3 // often\n&& true",
        "customer . purchases > 3",
        "'size' in event.attributes && event.attributes['size'] == 'XL'",
        "has(event.attributes.size) && event.attributes.size == 'XL'",
        "event.type == 'purchase.made' ? customer.purchases > 3 : customer.churn_risk > 0.5",
        "event.channel in ['OUTLET', 'TELEPHONY']",
        "size(event.reference) > 0 && string(customer.purchases) != '3'",
        "double(customer.value_at_risk_minor) * 0.1 > 50.0",
        "event.touchpoint == 'customer.purchases'",
        "(" * (DEEPEST_NESTING - 1) + "true" + ")" * (DEEPEST_NESTING - 1),
    ],
)
def test_what_may_stand_in_a_condition(text: str) -> None:
    """Comments, blanks, attributes, lists, conversions, the conditional."""
    condition, faults = read_condition(text)
    assert condition is not None, faults


def test_flattening_leaves_texts_and_comments_alone() -> None:
    """Only references are renamed."""
    assert flatten("customer.purchases > 1 && event.type == 'customer.purchases'") == (
        "customer_purchases > 1 && event_type == 'customer.purchases'"
    )


def test_every_variable_can_be_referred_to() -> None:
    """Each declared variable compiles, is found among the references, and has an example of its type."""
    tests = {
        VariableType.INT: "{} > 1",
        VariableType.DOUBLE: "{} > 1.0",
        VariableType.BOOL: "{}",
        VariableType.STRING: "{} != ''",
        VariableType.MAP: "size({}) > 0",
    }
    for name, variable in VARIABLES.items():
        text = tests[variable.type].format(name)
        condition, faults = read_condition(text.replace("''", f"'{variable.choices[0]}'") if variable.choices else text)
        assert condition is not None, faults
        assert condition.variables == (name,)
        assert variable.says


def test_choices_are_the_vocabulary() -> None:
    """What a variable can be is taken from the contract, not written again."""
    assert VARIABLES["event.type"].choices == tuple(EventType)
    assert VARIABLES["event.channel"].choices == tuple(Channel)


def test_the_traps_of_the_library_are_still_there() -> None:
    """What these checks guard against: should the library change, they can be thought over again."""
    with pytest.raises(KeyError):
        cel.compile("customer.purchase > 3").execute({"customer": {"purchases": 4}})
    with pytest.raises(RuntimeError):
        cel.compile("client > 3").execute({})
    assert cel.compile("false && 'a' < 1").execute({}) is False
    assert len("x" * LONGEST_CONDITION) == 1_000
