"""CDNOW's published sample: the features and the fit rank its customers as the literature does.

Only the file is taken from the package lifetimes. State is built from purchases before 1997-10-01, the label is a
purchase in the 39 weeks after.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from agents.history import fit, scores
from agents.history.journeys import Baskets, day_ms
from schemas.model import Feature, Transform
from streams.features import FEATURES, TRANSFORMS

Floats = npt.NDArray[np.float64]

CUT, END = "1997-10-01", "1998-07-01"
EARLIER_CUT = "1997-07-01"
RECENCY = [(Feature.RECENCY_DAYS, Transform.IDENTITY)]
RECENCY_FREQUENCY_MONEY = [
    (Feature.RECENCY_DAYS, Transform.IDENTITY),
    (Feature.PURCHASES, Transform.LOG1P),
    (Feature.MEAN_PURCHASE_MINOR, Transform.LOG1P),
]


@pytest.fixture(scope="module")
def purchases() -> Baskets:
    """The sample's purchases in order of time."""
    spec = find_spec("lifetimes")
    if spec is None or spec.origin is None:
        pytest.skip("the package lifetimes, which ships CDNOW_sample.txt, is not installed")
    lines = (Path(spec.origin).parent / "datasets/CDNOW_sample.txt").read_text().splitlines()
    rows = sorted(
        (day, int(customer), round(float(amount) * 100)) for _, customer, day, _, amount in map(str.split, lines)
    )
    return Baskets(
        np.array([customer for _, customer, _ in rows]),
        np.array([day_ms(f"{day[:4]}-{day[4:6]}-{day[6:]}") for day, _, _ in rows]),
        np.array([amount for _, _, amount in rows]),
    )


def examples(purchases: Baskets, cut: str, end: str, terms: fit.Terms) -> tuple[Floats, Floats]:
    """Return features at a cut and whether a purchase followed before the end."""
    cut_ms = day_ms(cut)
    states = fit.states(purchases.before(cut_ms))
    returned = set(purchases.between(cut_ms, day_ms(end)).household.tolist())
    rows = [[TRANSFORMS[t](FEATURES[f](state, cut_ms)) for f, t in terms] for state in states.values()]
    return np.array(rows), np.array([float(customer in returned) for customer in states])


def test_the_sample_is_the_published_one(purchases: Baskets) -> None:
    """2,357 customers, of whom 29 % return."""
    _, returned = examples(purchases, CUT, END, RECENCY)
    assert len(returned) == 2_357
    assert returned.mean() == pytest.approx(0.290, abs=0.001)


def test_recency_alone_ranks_as_published(purchases: Baskets) -> None:
    """AUC .771."""
    rows, returned = examples(purchases, CUT, END, RECENCY)
    assert scores.auc(1 - returned, rows[:, 0]) == pytest.approx(0.771, abs=0.001)


def test_recency_frequency_and_money_rank_better(purchases: Baskets) -> None:
    """AUC .78: fitted at an earlier cut on what came until the cut that is judged, so that nothing leaks."""
    rows, returned = examples(purchases, EARLIER_CUT, CUT, RECENCY_FREQUENCY_MONEY)
    weights, intercept = fit.logistic(rows, returned, fit.PENALTY)
    rows, returned = examples(purchases, CUT, END, RECENCY_FREQUENCY_MONEY)
    assert scores.auc(1 - returned, -(rows @ weights + intercept)) > 0.78
