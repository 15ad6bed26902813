"""What a customer is known to be, beyond what they do: for now where they live, as a time zone."""

from typing import Final

from schemas.zones import ZONES
from streams.customer import Customer
from streams.errors import BadEvent
from streams.meaning import Changed, Event

LONGEST_QUOTED: Final = 60


def changed(customer: Customer, event: Event) -> Changed | None:
    """Fold `profile.changed`: attribute `zone` is an IANA name, or empty for unknown; without it nothing changes.

    Of several the newest counts, of one moment the greater name, so that any order of arrival ends alike.
    """
    name = event["attributes"].get("zone")
    if name is None:
        return None
    if name and name not in ZONES:
        raise BadEvent(
            f"attribute zone is {name[:LONGEST_QUOTED]!r}, which is no IANA time zone; send one such as Europe/Berlin, "
            "or an empty text if it is not known"
        )
    word = (event["occurred_at"], name)
    if word <= (customer.zone_ms, customer.zone):
        return None
    customer.zone_ms, customer.zone = word
    return Changed.PROFILE
