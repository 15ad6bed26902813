"""Local time: where days, weeks and months begin for a customer, and when it is quiet there.

A customer whose zone is not known is taken to live in each zone that the policy names at once: what is strictest holds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from schemas.contact_policy import QuietHours
from schemas.vocabulary import Calendar, Weekday
from schemas.zones import zone
from streams.customer import Customer

_DAY: Final = timedelta(days=1)
_WEEKDAYS: Final = tuple(Weekday)
_LOOK_AHEAD_DAYS: Final = 8
"""Within so many days every rule of quiet hours begins at least once."""
_QUARTER_MS: Final = 15 * 60_000
_REMEMBERED: Final = 4_096


def zones_of(customer: Customer, unknown: Sequence[ZoneInfo]) -> Sequence[ZoneInfo]:
    """Return the customer's zone, or all in which customers of unknown zone may live."""
    return (zone(customer.zone),) if customer.zone else unknown


def window_start(calendar: Calendar, zones: Sequence[ZoneInfo], now_ms: int) -> int:
    """Return the first moment of the day, week or month that it is now, the earliest of all zones."""
    quarter = now_ms // _QUARTER_MS
    starts = []
    for there in zones:
        start = _start_within(calendar, there, quarter)
        starts.append(_start(calendar, _local(now_ms, there)) if start is None else start)
    return min(starts)


@lru_cache(maxsize=_REMEMBERED)
def _start_within(calendar: Calendar, there: ZoneInfo, quarter: int) -> int | None:
    """Return what `_start` is all through a quarter of an hour, or None where it is not the same at both its ends.

    Clocks have changed only where a quarter begins since the zones gave up the sun's time, so what is the same at
    both ends is the same between them.
    """
    begin = quarter * _QUARTER_MS
    first = _start(calendar, _local(begin, there))
    return first if first == _start(calendar, _local(begin + _QUARTER_MS - 1, there)) else None


def is_quiet(rule: QuietHours, zones: Sequence[ZoneInfo], now_ms: int) -> bool:
    """Return whether it is quiet now in any of the zones."""
    return any(_is_quiet(rule, _local(now_ms, there)) for there in zones)


def next_quiet(rule: QuietHours, zones: Sequence[ZoneInfo], now_ms: int) -> int:
    """Return the first moment after now at which quiet hours begin in any of the zones."""
    return min(_next(rule, _local(now_ms, there), now_ms) for there in zones)


def _local(time_ms: int, there: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, there)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _start(calendar: Calendar, local: datetime) -> int:
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if calendar is Calendar.WEEK:
        first -= timedelta(days=local.weekday())
    elif calendar is Calendar.MONTH:
        first = first.replace(day=1)
    return _milliseconds(first)


def _is_quiet(rule: QuietHours, local: datetime) -> bool:
    minutes = local.hour * 60 + local.minute
    if rule.start < rule.until:
        return rule.start <= minutes < rule.until and _begins_on(rule, local)
    if minutes >= rule.start:
        return _begins_on(rule, local)
    return minutes < rule.until and _begins_on(rule, local - _DAY)


def _begins_on(rule: QuietHours, local: datetime) -> bool:
    return not rule.days or _WEEKDAYS[local.weekday()] in rule.days


def _next(rule: QuietHours, local: datetime, now_ms: int) -> int:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    for day in range(_LOOK_AHEAD_DAYS + 1):
        begin = midnight + timedelta(days=day)
        if _begins_on(rule, begin):
            # Through UTC: where clocks go forward over that time, it begins when they have.
            moment = _milliseconds(begin.replace(hour=rule.start // 60, minute=rule.start % 60).astimezone(UTC))
            if moment > now_ms:
                return moment
    raise AssertionError("quiet hours that begin on no day of the week are refused by the reader")
