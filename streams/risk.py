"""Churn risk and value at risk by a model document.

Churn risk = 1 - P(at least one purchase within the horizon). P(alive) would be the wrong score: it calls every
one-time buyer alive (DATA.md). Value = spend so far / tenure x value days; value at risk = churn risk x value.
"""

from math import exp
from typing import Final

from schemas.model import ModelDocument
from streams.clock import DAY_MS
from streams.customer import Customer
from streams.features import FEATURES, TRANSFORMS

SHORTEST_TENURE_DAYS: Final = 28.0
"""A rate over a shorter time would make a millionaire of whoever bought twice on one day."""


class Scorer:
    """Scores customers by one model document."""

    __slots__ = ("_intercept", "_slope", "_terms", "_value_days")

    def __init__(self, document: ModelDocument) -> None:
        self._terms = [
            (FEATURES[feature.name], TRANSFORMS[feature.transform], coefficient)
            for feature, coefficient in zip(document.features, document.coefficients, strict=True)
        ]
        self._slope = document.calibration.slope
        self._intercept = document.intercept * self._slope + document.calibration.intercept
        self._value_days = document.value_days

    def churn_risk(self, customer: Customer, now_ms: int) -> float | None:
        """Return the probability, 0 to 1, of no purchase within the horizon; None for who never bought."""
        if customer.purchases == 0:
            return None
        total = 0.0
        for feature, transform, coefficient in self._terms:
            total += coefficient * transform(feature(customer, now_ms))
        return _sigmoid(-(self._slope * total + self._intercept))

    def value_minor(self, customer: Customer, now_ms: int) -> int:
        """Return the expected spend within the value days at the mean rate so far, minor units."""
        tenure_days = max(SHORTEST_TENURE_DAYS, (now_ms - customer.first_purchase_ms) / DAY_MS)
        return round(customer.spend_minor / tenure_days * self._value_days)


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1.0 / (1.0 + exp(-min(x, 700.0)))
    odds = exp(max(x, -700.0))
    return odds / (1.0 + odds)
