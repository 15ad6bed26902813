"""How good a score is: ranking and calibration together, since either alone can mislead."""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EDGES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def auc(happened: Floats, score: Floats) -> float:
    """Return the probability that a random positive scores above a random negative; ties count half."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    rank = np.empty(len(score))
    _, first, count = np.unique(ordered, return_index=True, return_counts=True)
    rank[order] = np.repeat(first + (count + 1) / 2, count)
    positives = happened.sum()
    negatives = len(happened) - positives
    return float((rank[happened == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(happened: Floats, probability: Floats) -> float:
    """Return the mean negative log-likelihood, in nats."""
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(happened * np.log(clipped) + (1 - happened) * np.log(1 - clipped)))


def brier(happened: Floats, probability: Floats) -> float:
    """Return the mean squared error of the probability."""
    return float(np.mean((happened - probability) ** 2))


def top_decile_capture(happened: Floats, score: Floats) -> float:
    """Return the share of all positives among the tenth that scores highest."""
    top = np.argsort(-score, kind="stable")[: max(1, len(score) // 10)]
    return float(happened[top].sum() / happened.sum())


def metrics(happened: Floats, probability: Floats) -> dict[str, float]:
    """Return all four, to four digits."""
    return {
        "auc": round(auc(happened, probability), 4),
        "log_loss": round(log_loss(happened, probability), 4),
        "brier": round(brier(happened, probability), 4),
        "top_decile_capture": round(top_decile_capture(happened, probability), 4),
        "rate": round(float(happened.mean()), 4),
        "customers": float(len(happened)),
    }


def reliability(happened: Floats, probability: Floats) -> list[tuple[float, float, int, float, float]]:
    """Return rows of (from, to, customers, mean probability, share that happened), empty bins left out."""
    rows = []
    for low, high in pairwise(EDGES):
        inside = (probability >= low) & ((probability < high) | (high == EDGES[-1]))
        if inside.any():
            rows.append(
                (low, high, int(inside.sum()), float(probability[inside].mean()), float(happened[inside].mean()))
            )
    return rows
