"""What a risk model looks at, computed from one state and the time. Fitting and scoring share these functions."""

from collections.abc import Callable, Mapping
from math import exp, log1p
from typing import Final

from schemas.model import Feature, Transform
from streams.clock import DAY_MS
from streams.customer import Customer
from streams.shop import TAU_14_MS, TAU_56_MS

RECENT_DISPUTE_MS: Final = 90 * DAY_MS

Function = Callable[[Customer, int], float]
"""From a customer with at least one purchase and the time in milliseconds."""


def activity_14(customer: Customer, now_ms: int) -> float:
    """Return the sum over purchases of exp(-age / 14 days)."""
    return customer.activity_14 * exp(-max(0, now_ms - customer.last_purchase_ms) / TAU_14_MS)


def activity_56(customer: Customer, now_ms: int) -> float:
    """Return the sum over purchases of exp(-age / 56 days)."""
    return customer.activity_56 * exp(-max(0, now_ms - customer.last_purchase_ms) / TAU_56_MS)


def recency_days(customer: Customer, now_ms: int) -> float:
    """Return days since the newest purchase."""
    return max(0, now_ms - customer.last_purchase_ms) / DAY_MS


def tenure_days(customer: Customer, now_ms: int) -> float:
    """Return days since the first purchase."""
    return max(0, now_ms - customer.first_purchase_ms) / DAY_MS


def purchases(customer: Customer, _now_ms: int) -> float:
    """Return the number of purchases."""
    return float(customer.purchases)


def mean_purchase_minor(customer: Customer, _now_ms: int) -> float:
    """Return the mean amount, minor units."""
    return customer.spend_minor / customer.purchases


def disputes_90_days(customer: Customer, now_ms: int) -> float:
    """Return how many disputes had their newest word within 90 days."""
    since = now_ms - RECENT_DISPUTE_MS
    return float(sum(1 for case in customer.cases.values() if case.is_dispute and case.at_ms >= since))


FEATURES: Final[Mapping[Feature, Function]] = {
    Feature.ACTIVITY_14: activity_14,
    Feature.ACTIVITY_56: activity_56,
    Feature.RECENCY_DAYS: recency_days,
    Feature.TENURE_DAYS: tenure_days,
    Feature.PURCHASES: purchases,
    Feature.MEAN_PURCHASE_MINOR: mean_purchase_minor,
    Feature.DISPUTES_90_DAYS: disputes_90_days,
}


def identity(value: float) -> float:
    """Return the value."""
    return value


TRANSFORMS: Final[Mapping[Transform, Callable[[float], float]]] = {
    Transform.IDENTITY: identity,
    Transform.LOG1P: log1p,
}
