"""The risk model as a document: what is multiplied by what, and where it comes from.

A document is JSON, immutable, and known by its name, version and SHA-256. It scores the probability that a
customer buys at least once within the horizon; churn risk is one minus that:

    z = intercept + sum(coefficient * transform(feature))
    P(active) = 1 / (1 + exp(-(slope * z + calibration intercept)))
"""

import json
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

LARGEST_WEIGHT: Final = 1e12
"""Of a coefficient, intercept or slope: a score of three such factors can still be computed."""
LARGEST_DOCUMENT: Final = 256_000
_MOST_DIGITS: Final = 300
_DEEPEST_NESTING: Final = 16


class ModelKind(StrEnum):
    """Kinds of models that can be scored."""

    LOGISTIC = "logistic"


class Feature(StrEnum):
    """What a model may look at; each is computed from one customer's state and the time (streams/features.py)."""

    ACTIVITY_14 = "activity_14"
    """Sum over purchases of exp(-age in days / 14)."""
    ACTIVITY_56 = "activity_56"
    """Sum over purchases of exp(-age in days / 56)."""
    RECENCY_DAYS = "recency_days"
    """Days since the newest purchase."""
    TENURE_DAYS = "tenure_days"
    """Days since the first purchase."""
    PURCHASES = "purchases"
    """Number of purchases."""
    MEAN_PURCHASE_MINOR = "mean_purchase_minor"
    """Mean amount of a purchase, minor units."""
    DISPUTES_90_DAYS = "disputes_90_days"
    """Disputes opened, resolved or reopened within 90 days."""


class Transform(StrEnum):
    """What is done to a feature before it is multiplied."""

    IDENTITY = "identity"
    LOG1P = "log1p"


class FeatureOrigin(StrEnum):
    """Where a coefficient comes from."""

    FITTED = "fitted"
    DECLARED = "declared"
    """Set by judgement, since the training data hold no such events."""


class ModelFeature(Struct, frozen=True, forbid_unknown_fields=True):
    """One term of the sum."""

    name: Feature
    transform: Transform = Transform.IDENTITY
    origin: FeatureOrigin = FeatureOrigin.FITTED


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """A straight line on the log-odds; slope 1 and intercept 0 change nothing."""

    slope: float = 1.0
    intercept: float = 0.0


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the numbers come from: enough to make them again."""

    data: str
    data_sha256: str
    cuts: list[str]
    """Days at which states were cut off; each example looks `horizon_days` beyond its cut."""
    last_label: str
    """Nothing from this day on was seen."""
    examples: int
    penalty: float
    metrics: dict[str, dict[str, float]] = {}
    """By evaluation set: AUC, log-loss and others, recency alone beside them."""


class ModelDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """A versioned risk model."""

    name: str
    version: str
    kind: ModelKind
    horizon_days: int
    """P(active) is the probability of at least one purchase within so many days."""
    value_days: int
    """A customer's value is the expected spend of so many days, at the mean rate so far."""
    features: list[ModelFeature]
    coefficients: list[float]
    intercept: float
    calibration: Calibration
    training: Training
    description: str = ""


class InvalidModel(ValueError):
    """A model document with errors; `errors` holds one text each, beginning with the place in the document."""

    def __init__(self, errors: list[str]) -> None:
        """Take one text for each error."""
        super().__init__("\n".join(errors))
        self.errors = errors


def read_model(raw: bytes) -> ModelDocument:
    """Read and check a model document; raises InvalidModel saying where it is wrong and what to do."""
    if len(raw) > LARGEST_DOCUMENT:
        raise InvalidModel([f"document: {len(raw)} bytes, at most {LARGEST_DOCUMENT} are allowed"])
    try:
        plain = json.loads(raw, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise InvalidModel([f"document: not JSON: {error}"]) from error
    unusable = list(_unusable(plain))
    if unusable:
        raise InvalidModel(unusable)
    try:
        document = msgspec.convert(plain, ModelDocument, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidModel([_located(str(error))]) from error
    errors = list(_errors(document))
    if errors:
        raise InvalidModel(errors)
    return document


def write_model(document: ModelDocument) -> bytes:
    """Return the document's bytes: JSON, indented, so that a difference between versions can be read."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _located(text: str) -> str:
    message, _, path = text.partition(" - at ")
    return f"{path.strip('`').removeprefix('$.') or 'document'}: {message}"


def _whole(digits: str) -> float:
    """Return a whole number; one without end becomes a fraction or infinite, and is refused as that."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _unusable(plain: Any) -> Iterator[str]:
    """Yield the place of every value that can neither be computed with nor be written into a record."""
    waiting: list[tuple[str, int, Any]] = [("", 0, plain)]
    while waiting:
        path, depth, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield (
                f"{path or 'document'}: {value} is no number to compute with; fit the model again, or correct the "
                "export"
            )
        elif isinstance(value, str):
            yield from _half(path, value)
        elif depth > _DEEPEST_NESTING:
            yield f"{path.partition('.')[0].partition('[')[0]}: nested more than {_DEEPEST_NESTING} deep; write it flat"
        elif isinstance(value, Mapping):
            for name in value:
                yield from _half(path, name)
            inner = [(f"{path}.{name}" if path else str(name), depth + 1, one) for name, one in value.items()]
            waiting += reversed(inner)
        elif isinstance(value, list):
            waiting += reversed([(f"{path}[{index}]", depth + 1, one) for index, one in enumerate(value)])


def _half(path: str, text: str) -> Iterator[str]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):x}"
        yield f"{path or 'document'}: holds half of a character, {half}; write the whole character, in UTF-8"


def _errors(document: ModelDocument) -> Iterator[str]:
    for field in ("name", "version"):
        text = getattr(document, field)
        if not text or "/" in text or text != text.strip():
            yield f"{field}: {text!r} stands in a topic key; give it a text without slashes and outer blanks"
    for field in ("horizon_days", "value_days"):
        days = getattr(document, field)
        if not 1 <= days <= 3_650:
            yield f"{field}: {days} is outside 1..3650"
    features, coefficients = document.features, document.coefficients
    if not features:
        yield "features: empty; a model needs at least one"
    if len(features) != len(coefficients):
        yield (
            f"coefficients: {len(coefficients)} for {len(features)} features; "
            "give one for each feature, in the same order"
        )
    seen: list[str] = []
    for index, feature in enumerate(features):
        if feature.name in seen:
            yield f"features[{index}].name: {feature.name.value} is listed twice; leave one out"
        seen.append(feature.name)
    yield from _unscorable(document)
    if document.calibration.slope <= 0:
        yield (
            f"calibration.slope: {document.calibration.slope} turns the ranking round or flattens it; "
            "it must be above 0"
        )


def _unscorable(document: ModelDocument) -> Iterator[str]:
    """Yield what is so large that a score would be 0 or 1 for everybody, or no number."""
    weights = {f"coefficients[{index}]": one for index, one in enumerate(document.coefficients)} | {
        "intercept": document.intercept,
        "calibration.slope": document.calibration.slope,
        "calibration.intercept": document.calibration.intercept,
    }
    for place, weight in weights.items():
        if abs(weight) > LARGEST_WEIGHT:
            yield f"{place}: {weight} is beyond {LARGEST_WEIGHT:,.0f}; fit the model again"
