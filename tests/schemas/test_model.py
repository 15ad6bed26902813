"""Model documents: what a good one becomes, and that a bad one is refused with the place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.model import LARGEST_DOCUMENT, Feature, InvalidModel, ModelDocument, read_model, write_model

MODELS = sorted((Path(__file__).parents[2] / "schemas/models").glob("*.json"))

GOOD: dict[str, Any] = {
    "name": "small",
    "version": "1",
    "kind": "logistic",
    "horizon_days": 28,
    "value_days": 364,
    "features": [{"name": "recency_days", "transform": "log1p"}, {"name": "purchases"}],
    "coefficients": [-1.0, 0.5],
    "intercept": 0.25,
    "calibration": {"slope": 1.0, "intercept": 0.0},
    "training": {
        "data": "made up",
        "data_sha256": "00",
        "cuts": ["2017-06-03"],
        "last_label": "2017-07-01",
        "examples": 10,
        "penalty": 1.0,
    },
}


def changed(path: str, value: Any) -> bytes:
    """Return the good document with one place changed, as JSON (with NaN as Python writes it)."""
    plain = json.loads(json.dumps(GOOD))
    place = plain
    *way, last = path.split("/")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(plain).encode()


def test_a_good_document_survives() -> None:
    """Read, written and read again it is the same."""
    document = read_model(json.dumps(GOOD).encode())
    assert document.features[0].name is Feature.RECENCY_DAYS
    assert read_model(write_model(document)) == document


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_the_shipped_models_are_valid(path: Path) -> None:
    """What is shipped passes its own check, and its file is named as the model."""
    document = read_model(path.read_bytes())
    assert f"{document.name}-{document.version}" == path.stem
    assert write_model(document) == path.read_bytes()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("coefficients/1", float("nan"), "coefficients[1]: nan"),
        ("intercept", float("inf"), "intercept: inf"),
        ("calibration/slope", float("-inf"), "calibration.slope: -inf"),
        ("training/penalty", float("nan"), "training.penalty: nan"),
        ("coefficients", [1.0], "coefficients: 1 for 2 features"),
        ("coefficients", [1.0, 2.0, 3.0], "coefficients: 3 for 2 features"),
        ("coefficients/0", "1.0", "coefficients[0]"),
        ("features/0/name", "shoe_size", "features[0].name"),
        ("features/0/transform", "sqrt", "features[0].transform"),
        ("features/1/name", "recency_days", "features[1].name: recency_days is listed twice"),
        ("features/0/weight", 1.0, "weight"),
        ("features", [], "features: empty"),
        ("kind", "forest", "kind"),
        ("horizon_days", 0, "horizon_days: 0 is outside"),
        ("value_days", 10_000, "value_days: 10000 is outside"),
        ("horizon_days", 28.5, "horizon_days"),
        ("calibration/slope", -1.0, "calibration.slope"),
        ("coefficients/1", 1e308, "coefficients[1]: 1e+308 is beyond"),
        ("intercept", -2e12, "intercept: -2000000000000.0 is beyond"),
        ("calibration/slope", 2e12, "calibration.slope: 2000000000000.0 is beyond"),
        ("name", "a/b", "name: 'a/b'"),
        ("version", "", "version: ''"),
        ("colour", "red", "colour"),
        ("training/examples", None, "training.examples"),
    ],
)
def test_each_error_names_its_place(path: str, value: Any, says: str) -> None:
    """Numbers that cannot be computed with, missing and extra fields, wrong lengths and types."""
    with pytest.raises(InvalidModel) as caught:
        read_model(changed(path, value))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ("28", "9" * 5_000, "horizon_days: inf is no number"),
        ("0.25", "9" * 400, "intercept: inf is no number"),
        ("0.25", "-" + "9" * 400, "intercept: -inf is no number"),
        ("0.25", "1e999", "intercept: inf is no number"),
        ('"small"', r'"sm\ud800"', "name: holds half of a character"),
        ('"small"', r'"small", "description": "\udfff"', "description: holds half of a character"),
        ('"small"', r'"small", "\ud800": 1', "document: holds half of a character"),
        ('"small"', "[" * 900 + "]" * 900, "name: nested more than"),
        ('"small"', '{"a":' * 900 + "1" + "}" * 900, "name: nested more than"),
        ('"small"', "[" * 20_000, "document: not JSON"),
    ],
)
def test_values_that_no_record_can_hold(good: str, bad: str, says: str) -> None:
    """Numbers without end, halves of characters and nesting without end are refused with the place."""
    raw = json.dumps(GOOD).replace(good, bad, 1)
    assert raw != json.dumps(GOOD)
    with pytest.raises(InvalidModel) as caught:
        read_model(raw.encode())
    assert says in str(caught.value)
    assert str(caught.value).encode()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("field", sorted(set(GOOD) - {"description"}))
def test_a_missing_field_is_named(field: str) -> None:
    """Nothing but the description may be left out."""
    with pytest.raises(InvalidModel, match=field):
        read_model(json.dumps({name: value for name, value in GOOD.items() if name != field}).encode())


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b" " * (LARGEST_DOCUMENT + 1)])
def test_what_is_no_document_at_all(raw: bytes) -> None:
    """Anything else is refused with a reason."""
    with pytest.raises(InvalidModel, match="document: "):
        read_model(raw)


@given(
    st.sampled_from([*GOOD, "training/cuts", "features/0"]), st.none() | st.integers() | st.text() | st.lists(st.none())
)
def test_no_junk_breaks_the_reader(path: str, value: Any) -> None:
    """The answer is a document or InvalidModel, never another error."""
    outcome: ModelDocument | list[str]
    try:
        outcome = read_model(changed(path, value))
    except InvalidModel as error:
        outcome = error.errors
    assert outcome
