"""Policy packs: what a good one becomes, and that everything wrong with a bad one is said with its place."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.policy import InvalidPolicy, Policy, PolicyFault
from schemas.policy_reader import LARGEST_DOCUMENT, read_policy
from schemas.vocabulary import ActionClass, Channel, EventType

PACKS = sorted((Path(__file__).parents[2] / "schemas/packs").glob("*.yaml"))

GOOD = """\
name: small
version: 3
description: One offer.
triggers: [purchase.made, offer.accepted]
actions:
  - id: tea
    title: A box of tea
    issue: growth
    group: cross-sell
    class: marketing
    triggers: [purchase.made]
    propensity: 0.25
    context_weight: 1.5
    context_weights: {purchase.made: 2}
    value_minor: 300
    lever: 1.1
    validity: 7d
    max_trigger_age: 12h
    repeat_after: 2w
    eligibility: customer.purchases > 3
    applicability: event.channel == 'OUTLET'
    suitability: customer.open_disputes == 0
    treatments:
      - id: tea-mail
        channel: direct_marketing
        content: {template: tea, subject: Tea}
"""


def faults_of(text: str) -> list[PolicyFault]:
    """Return what is wrong with a pack."""
    with pytest.raises(InvalidPolicy) as caught:
        read_policy(text.encode())
    return caught.value.faults


def place(text: str, part: str) -> tuple[int, int]:
    """Return line and column of a part of a text."""
    at = text.index(part)
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def test_a_good_pack_becomes_typed_records() -> None:
    """Every field arrives with its type and unit."""
    policy = read_policy(GOOD.encode())
    (tea,) = policy.actions
    assert (policy.name, policy.version, policy.triggers) == (
        "small",
        3,
        (EventType.PURCHASE, EventType.OFFER_ACCEPTED),
    )
    assert (tea.id, tea.issue, tea.group, tea.action_class) == ("tea", "growth", "cross-sell", ActionClass.MARKETING)
    assert (tea.propensity, tea.context_weight, tea.value_minor, tea.lever) == (0.25, 1.5, 300, 1.1)
    assert dict(tea.context_weights) == {EventType.PURCHASE: 2.0}
    assert (tea.validity_ms, tea.max_trigger_age_ms, tea.repeat_after_ms) == (604_800_000, 43_200_000, 1_209_600_000)
    assert tea.eligibility is not None
    assert tea.eligibility.variables == ("customer.purchases",)
    assert tea.treatments[0].channel is Channel.DIRECT_MARKETING
    assert dict(tea.treatments[0].content) == {"template": "tea", "subject": "Tea"}


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.name)
def test_the_shipped_packs_are_valid(path: Path) -> None:
    """What is shipped passes its own check, and its file is named as the pack."""
    policy = read_policy(path.read_bytes())
    assert policy.name == path.stem


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("title: A", "titel: A", "unknown field 'titel'"),
        ("version: 3", "version: three", "a whole number is expected"),
        ("version: 3", "version: 0", "out of bounds"),
        ("version: 3", "version: true", "true or false stands where"),
        ("propensity: 0.25", "propensity: 1.01", "out of bounds"),
        ("propensity: 0.25", "propensity: -0.1", "out of bounds"),
        ("propensity: 0.25", "propensity: .nan", "out of bounds"),
        ("propensity: 0.25", "propensity: high", "a number is expected"),
        ("value_minor: 300", "value_minor: 3.5", "no whole number of minor units"),
        ("value_minor: 300", "value_minor: -1", "out of bounds"),
        ("lever: 1.1", "lever: 101", "out of bounds"),
        ("purchase.made: 2", "purchase.made: .inf", "out of bounds"),
        ("purchase.made: 2", "bill.paid: 2", "unknown field 'bill.paid'"),
        ("validity: 7d", "validity: 7", "a text is expected"),
        ("validity: 7d", "validity: 7 days", "not a duration"),
        ("validity: 7d", "validity: 900d", "out of bounds"),
        ("class: marketing", "class: sales", "not known here"),
        ("channel: direct_marketing", "channel: FAX", "not known here"),
        ("triggers: [purchase.made]", "triggers: [bill.paid]", "not known here"),
        ("triggers: [purchase.made]", "triggers: []", "the list is empty"),
        ("id: tea\n", "id: Tea Time\n", "is not an id"),
        ("eligibility: customer.purchases > 3", "eligibility: true", "a text is expected"),
        ("template: tea", "template: 3", "a text is expected"),
        ("group: cross-sell", "group: ''", "0 characters"),
    ],
)
def test_each_error_names_its_place(good: str, bad: str, message: str) -> None:
    """One error, at the line and column where it stands, with something to do about it."""
    text = GOOD.replace(good, bad, 1)
    (fault,) = faults_of(text)
    line, column = place(text, bad)
    assert (fault.line, message in fault.message) == (line, True), fault
    assert column <= fault.column <= column + len(bad)
    assert fault.remedy


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("version: 3", "version: " + "9" * 5_000, "5000 characters"),
        ("version: 3", "version: 0x" + "f" * 5_000, "5002 characters"),
        ("version: 3", "version: 0x" + "f" * 250, "out of bounds"),
        ("version: 3", "version: !!int 'abc'", "'abc' is no whole number"),
        ("version: 3", "version: !!int ''", "'' is no whole number"),
        ("version: 3", "version: !!int '+'", "'+' is no whole number"),
        ("version: 3", "version: !!int '08'", "'08' is no whole number"),
        ("version: 3", "version: 0b_", "'0b_' is no whole number"),
        ("version: 3", "version: !!int [3]", "a list stands where a whole number"),
        ("propensity: 0.25", "propensity: " + "9" * 400, "400 characters"),
        ("propensity: 0.25", "propensity: 0x" + "f" * 290, "is no number"),
        ("propensity: 0.25", "propensity: !!float abc", "'abc' is no number"),
        ("propensity: 0.25", "propensity: !!float ''", "'' is no number"),
        ("value_minor: 300", "value_minor: !!int x", "'x' is no whole number"),
        ("validity: 7d", "validity: 7d\n    fallback: !!bool maybe", "'maybe' is neither true nor false"),
        ("title: A box of tea", "title: !!str [tea]", "a list stands where a text"),
        ("title: A box of tea", 'title: "\\ud83c"', "no character"),
        ("subject: Tea", '"sub\\ud83c": Tea', "no character"),
    ],
)
def test_a_value_that_cannot_be_converted_is_an_error_at_its_place(good: str, bad: str, message: str) -> None:
    """Numbers without end, words under a number's tag, halves of characters: one error each, where it stands."""
    text = GOOD.replace(good, bad, 1)
    (fault,) = faults_of(text)
    last = bad.splitlines()[-1]
    line, column = place(text, last)
    assert (fault.line, message in fault.message) == (line, True), fault
    assert column <= fault.column <= column + len(last)
    assert fault.remedy
    assert str(fault).encode()
    assert len(str(fault)) < 500


@pytest.mark.parametrize(
    ("bad", "at", "message"),
    [
        ('title: "\\UFFFFFFFF"', "FFFFFFFF", "no character"),
        ('title: "\\U00110000"', "00110000", "no character"),
        ("title: a \x00 b", "\x00", "#x0000"),
        ("title: a \x07 b", "\x07", "#x0007"),
        ("title: " + "[" * 5_000, "[" * 4_900, "nested more than"),
        ("title: " + "[" * 900 + "]" * 900, "[" * 800, "nested more than"),
        ("title:\n" + "".join(" " * (4 + depth) + "-\n" for depth in range(1, 900)), "-\n", "nested more than"),
    ],
    ids=["beyond unicode", "just beyond unicode", "nul", "bell", "open lists", "lists", "lists in lines"],
)
def test_what_is_no_yaml_is_told_at_its_place(bad: str, at: str, message: str) -> None:
    """Control characters, characters that do not exist and nesting without end have a line and a column, too."""
    text = GOOD.replace("title: A box of tea", bad, 1)
    (fault,) = faults_of(text)
    line, column = place(text, bad)
    assert message in fault.message
    assert fault.line >= line > 1
    assert fault.line == place(text, at)[0] or at == "-\n"
    if len(at) <= 8 and at != "-\n":
        assert (fault.line, fault.column) == place(text, at)
    assert fault.column > column


@pytest.mark.parametrize(
    ("condition", "at", "message"),
    [
        ("customer.purchases >", "", "ends too early"),
        ("customer.purchases > > 3", "> 3", "not a CEL expression"),
        ("customer.purchase > 3", "purchase >", "customer.purchase is not declared"),
        ("client.purchases > 3", "client", "client is not declared"),
        ("customer.purchases > 3 && event.kind == 'x'", "kind", "event.kind is not declared"),
        ("customer.purchases", "customer", "is int, not true or false"),
        ("now() > 3", "now", "now is not allowed"),
    ],
)
@pytest.mark.parametrize("style", ["plain", "single", "double", "literal", "folded"])
def test_errors_in_conditions_point_into_the_condition(condition: str, at: str, message: str, style: str) -> None:
    """Whatever way the condition is written in, the column is that of the culprit."""
    written = {
        "plain": condition,
        "single": "'" + condition.replace("'", "''") + "'",
        "double": f'"{condition}"',
        "literal": f"|\n      {condition}",
        "folded": f">-\n      {condition}",
    }[style]
    text = GOOD.replace("customer.purchases > 3", written)
    (fault,) = faults_of(text)
    assert message in fault.message
    line, column = place(text, condition.replace("'", "''") if style == "single" else condition)
    expected = column + (condition.rindex(at) if at else len(condition.rstrip()) - 1)
    assert fault.line == line
    assert abs(fault.column - expected) <= 1


def test_all_errors_are_found_in_one_reading() -> None:
    """A marketer sees everything at once, in the order of the text."""
    text = GOOD.replace("version: 3", "version: x").replace("class: marketing", "class: x").replace("> 3", "> > 3")
    faults = faults_of(text)
    assert len(faults) == 3
    assert faults == sorted(faults)


@pytest.mark.parametrize("field", ["name", "version", "triggers", "actions"])
def test_missing_fields_of_a_pack_are_named(field: str) -> None:
    """What a pack needs is asked for by name."""
    plain = yaml.safe_load(GOOD)
    del plain[field]
    assert any(f"the field {field!r} is missing" in fault.message for fault in faults_of(yaml.dump(plain)))


@pytest.mark.parametrize(
    "field", ["id", "issue", "group", "class", "propensity", "value_minor", "validity", "treatments"]
)
def test_missing_fields_of_an_action_are_named(field: str) -> None:
    """What an action needs is asked for by name."""
    plain = yaml.safe_load(GOOD)
    del plain["actions"][0][field]
    assert any(f"the field {field!r} is missing" in fault.message for fault in faults_of(yaml.dump(plain)))


def test_ids_are_unique() -> None:
    """Two actions or treatments of one id would be one in every decision."""
    plain = yaml.safe_load(GOOD)
    plain["actions"].append(plain["actions"][0])
    messages = [fault.message for fault in faults_of(yaml.dump(plain))]
    assert messages == ["a second action has the id 'tea'", "a second treatment has the id 'tea-mail'"]


def test_one_treatment_per_channel() -> None:
    """The first one would always win."""
    plain = yaml.safe_load(GOOD)
    plain["actions"][0]["treatments"].append({"id": "other", "channel": "DIRECT_MARKETING"})
    (fault,) = faults_of(yaml.dump(plain))
    assert "a second treatment for DIRECT_MARKETING" in fault.message


def test_a_mandatory_action_needs_a_guard() -> None:
    """It passes every limit but its own."""
    plain = yaml.safe_load(GOOD)
    plain["actions"][0]["class"] = "mandatory"
    del plain["actions"][0]["repeat_after"]
    (fault,) = faults_of(yaml.dump(plain))
    assert "no repeat_after" in fault.message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a mapping"),
        (b"- a\n- b\n", "not a mapping"),
        (b"name: [a\n", "not YAML"),
        (b"name: a\n  b: c\n", "not YAML"),
        (b"name: \xff\n", "not UTF-8"),
        (b"name: a\x00b\n", "not YAML"),
        (b"[" * 50_000, "not YAML"),
        (b"#" * (LARGEST_DOCUMENT + 1), "at most"),
    ],
)
def test_what_is_no_pack_at_all(raw: bytes, message: str) -> None:
    """Bytes that are no YAML mapping are refused with the place where reading stopped."""
    with pytest.raises(InvalidPolicy, match=message):
        read_policy(raw)


def test_a_doubled_key_is_an_error() -> None:
    """YAML's libraries let the last one win, silently."""
    (fault,) = faults_of(GOOD.replace("    lever: 1.1\n", "    lever: 1.1\n    lever: 1.2\n"))
    assert "'lever' stands here twice" in fault.message


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([None, 0]),
    st.sampled_from(
        ["name", "version", "triggers", "actions", "id", "class", "eligibility", "treatments", "value_minor"]
    ),
    junk,
)
def test_no_junk_breaks_the_reader(level: Any, field: str, value: Any) -> None:
    """Whatever stands in a field, the answer is a policy or faults with places, never another error."""
    plain = yaml.safe_load(GOOD)
    (plain if level is None else plain["actions"][0])[field] = value
    outcome: Policy | list[PolicyFault]
    try:
        outcome = read_policy(yaml.safe_dump(plain, allow_unicode=True).encode())
    except InvalidPolicy as error:
        outcome = error.faults
    assert isinstance(outcome, Policy) or all(fault.line and fault.column and fault.remedy for fault in outcome)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(["int", "float", "bool", "str", "null", "map", "seq", "timestamp", "binary", "set"]).flatmap(
            lambda tag: st.text("+-_.:0189abefx \"'\\\\[{", max_size=8).map(lambda text: f"!!{tag} {text}")
        ),
        st.sampled_from(
            ['"\\UFFFFFFFF"', '"\\ud800"', "%YAML 1." + "9" * 5_000 + "\n---\n", "&a [*a]", "1:" * 200 + "1"]
        ),
    ),
)
def test_no_text_breaks_the_reader(at: int, length: int, written: str) -> None:
    """Whatever is written over a part of a pack, the answer is a policy or faults that can be printed."""
    raw = (GOOD[:at] + written + GOOD[at + length :]).encode(errors="replace")
    faults: list[PolicyFault] = []
    try:
        read_policy(raw)
    except InvalidPolicy as error:
        faults = error.faults
    assert all(fault.line and fault.column and fault.remedy and str(fault).encode() for fault in faults)
