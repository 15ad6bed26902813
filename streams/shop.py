"""The shop: recency, frequency, money."""

from math import exp
from typing import Final

from streams.clock import DAY_MS
from streams.customer import Customer
from streams.errors import BadEvent
from streams.meaning import Event

LARGEST_AMOUNT_MINOR: Final = 1_000_000_000_000
"""A purchase above this is taken for an error of the source."""

TAU_14_MS: Final = 14.0 * DAY_MS
TAU_56_MS: Final = 56.0 * DAY_MS


def purchase(customer: Customer, event: Event) -> None:
    """Add a purchase; any order of arrival gives the same sums.

    Raises BadEvent without an amount, with an absurd one, or in another currency than the customer's.
    """
    amount = event["amount_minor"]
    if amount is None:
        raise BadEvent("purchase.made has no amount_minor; send the price in minor units, 0 if nothing was paid")
    if not 0 <= amount <= LARGEST_AMOUNT_MINOR:
        raise BadEvent(
            f"purchase.made has amount_minor {amount}, outside 0..{LARGEST_AMOUNT_MINOR}; "
            "send minor units, and a return as an event of its own"
        )
    currency = event["currency"]
    if currency != customer.currency and currency:
        if customer.currency:
            raise BadEvent(
                f"purchase.made is in {currency[:8]!r} but this customer's purchases are in "
                f"{customer.currency!r}; convert at the source, a sum of two currencies means nothing"
            )
        customer.currency = currency
    at = event["occurred_at"]
    if customer.purchases == 0:
        customer.first_purchase_ms = customer.last_purchase_ms = at
        customer.activity_14 = customer.activity_56 = 1.0
    else:
        later = at - customer.last_purchase_ms
        if later >= 0:
            customer.activity_14 = customer.activity_14 * exp(-later / TAU_14_MS) + 1.0
            customer.activity_56 = customer.activity_56 * exp(-later / TAU_56_MS) + 1.0
            customer.previous_purchase_ms = customer.last_purchase_ms
            customer.last_purchase_ms = at
        else:
            customer.activity_14 += exp(later / TAU_14_MS)
            customer.activity_56 += exp(later / TAU_56_MS)
            customer.first_purchase_ms = min(customer.first_purchase_ms, at)
            customer.previous_purchase_ms = max(customer.previous_purchase_ms, at)
    customer.purchases += 1
    customer.spend_minor += amount
