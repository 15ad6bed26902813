"""Churn risk: what it must do whatever the numbers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.model import Feature, Transform, read_model
from streams.customer import Case, Customer
from streams.features import FEATURES, TRANSFORMS
from streams.risk import Scorer
from streams.shop import purchase
from tests.streams.journal import DAY, MODEL, START, interaction

SCORER = Scorer(read_model(MODEL))

baskets = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 50_000)), min_size=1, max_size=20)


def customer_who_bought(bought: list[tuple[int, int]]) -> Customer:
    """Return a customer who bought on these days for these amounts."""
    customer = Customer()
    for day, amount in bought:
        purchase(customer, interaction("purchase.made", occurred_at=START + day * DAY, amount_minor=amount))
    return customer


@given(baskets, st.integers(0, 400), st.integers(1, 400))
def test_risk_rises_with_silence(bought: list[tuple[int, int]], wait: int, longer: int) -> None:
    """No event arrives, and the shipped model's risk grows from day to day, within 0 and 1."""
    customer = customer_who_bought(bought)
    last = customer.last_purchase_ms
    sooner = SCORER.churn_risk(customer, last + wait * DAY)
    later = SCORER.churn_risk(customer, last + (wait + longer) * DAY)
    assert sooner is not None
    assert later is not None
    assert 0 < sooner <= later < 1


@given(baskets, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(bought: list[tuple[int, int]], random: Any) -> None:
    """Late purchases give the same risk as timely ones, but for the last digits."""
    shuffled = list(bought)
    random.shuffle(shuffled)
    now = START + 301 * DAY
    one = SCORER.churn_risk(customer_who_bought(bought), now)
    other = SCORER.churn_risk(customer_who_bought(shuffled), now)
    assert one == pytest.approx(other, rel=1e-9)


def test_a_purchase_lowers_the_risk_and_a_dispute_raises_it() -> None:
    """Buying again is a sign of life; a dispute within 90 days, also a resolved one, is the opposite."""
    customer = customer_who_bought([(0, 1000), (7, 1000)])
    now = START + 30 * DAY
    before = SCORER.churn_risk(customer, now)
    customer.cases["d1"] = Case(now - DAY, 1, True)
    disputed = SCORER.churn_risk(customer, now)
    purchase(customer, interaction("purchase.made", occurred_at=now, amount_minor=1000))
    after = SCORER.churn_risk(customer, now)
    assert before is not None
    assert disputed is not None
    assert after is not None
    assert after < before < disputed
    assert SCORER.churn_risk(customer, now + 91 * DAY) == Scorer(read_model(MODEL)).churn_risk(
        customer_who_bought([(0, 1000), (7, 1000), (30, 1000)]), now + 91 * DAY
    )


def test_who_never_bought_has_no_risk_to_lose() -> None:
    """Without a purchase there is no score, and no value at risk."""
    assert SCORER.churn_risk(Customer(), START) is None


def test_the_value_of_a_customer_is_the_spend_of_the_value_days() -> None:
    """10.00 a week for a year is 520.00 in 364 days; a first day does not make a millionaire."""
    weekly = customer_who_bought([(7 * week, 1000) for week in range(52)])
    assert SCORER.value_minor(weekly, START + 364 * DAY) == 52_000
    fresh = customer_who_bought([(0, 1000)])
    assert SCORER.value_minor(fresh, START) == 1000 * 364 // 28


def test_extreme_scores_stay_probabilities() -> None:
    """Log-odds beyond what exp can hold do not raise."""
    plain = json.loads(MODEL)
    for intercept in (-1e9, 1e9):
        scorer = Scorer(read_model(json.dumps(plain | {"intercept": intercept}).encode()))
        risk = scorer.churn_risk(customer_who_bought([(0, 1000)]), START)
        assert risk is not None
        assert 0 <= risk <= 1


def test_every_feature_and_transform_of_the_schema_is_there() -> None:
    """What a document may name can be computed."""
    assert list(FEATURES) == list(Feature)
    assert list(TRANSFORMS) == list(Transform)
