"""Aggregates over declared windows: of each declared event type how often and how much, by UTC day.

The days are kept whatever the active policy asks for, so that a window which a policy declares tomorrow has its past.
A row is `[count ever, newest time, day, events, amount, day, events, amount, ...]`, days ascending since 1970: one list
of numbers, since a state is encoded at every event.
"""

from collections.abc import Callable
from typing import Any, Final

from schemas.policy import Aggregate
from schemas.vocabulary import Measure
from streams.clock import DAY_MS
from streams.customer import DAYS_KEPT, Customer
from streams.meaning import Event
from streams.shop import LARGEST_AMOUNT_MINOR
from streams.situation import Situation

_FIRST: Final = 2
"""Where the days begin in a row."""
_STEP: Final = 3
_EVENTS: Final = 1
_AMOUNT: Final = 2
"""Where they stand behind their day."""


def note(customer: Customer, event: Event) -> None:
    """Add an event of a declared type to its row; any order of arrival gives the same row."""
    at = event["occurred_at"]
    amount = event["amount_minor"] or 0
    if not -LARGEST_AMOUNT_MINOR <= amount <= LARGEST_AMOUNT_MINOR:
        amount = 0  # an error of the source, counted and not summed: sums must fit into 64 bits
    day = at // DAY_MS
    row = customer.types.get(event["type"])
    if row is None:
        customer.types[event["type"]] = [1, at, day, 1, amount]
        return
    row[0] += 1
    row[1] = max(row[1], at)
    newest = row[-_STEP]
    if day == newest:
        row[-2] += 1
        row[-1] += amount
    elif day > newest:
        row += (day, 1, amount)
        _drop(row, day - DAYS_KEPT)
    elif day > newest - DAYS_KEPT:
        _insert(row, day, amount)


def _drop(row: list[int], last: int) -> None:
    """Forget the days up to `last`."""
    end = _FIRST
    while row[end] <= last:
        end += _STEP
    if end > _FIRST:
        del row[_FIRST:end]


def _insert(row: list[int], day: int, amount: int) -> None:
    place = len(row) - _STEP
    while place > _FIRST and row[place - _STEP] >= day:
        place -= _STEP
    if row[place] == day:
        row[place + 1] += 1
        row[place + 2] += amount
    else:
        row[place:place] = (day, 1, amount)


def compute(aggregate: Aggregate) -> Callable[[Situation], Any]:
    """Return the function that gives an aggregate's value: an int, or days as a float for DAYS_SINCE."""
    kinds = tuple(event.value for event in aggregate.events)
    if aggregate.measure is Measure.DAYS_SINCE:
        return lambda s: s.days_since(
            max((s.customer.types[kind][1] for kind in kinds if kind in s.customer.types), default=0)
        )
    days = aggregate.days
    if aggregate.measure is Measure.ACTIVE_DAYS:
        return lambda s: _active_days(s, kinds, days)
    column = _EVENTS if aggregate.measure is Measure.COUNT else _AMOUNT
    return lambda s: _sum(s, kinds, days, column)


def _sum(situation: Situation, kinds: tuple[str, ...], days: int, column: int) -> int:
    """Return the sum of a column within the newest `days`, today included; what lies ahead of the clock too."""
    total = 0
    oldest = situation.now_ms // DAY_MS - days
    types = situation.customer.types
    for kind in kinds:
        row = types.get(kind)
        if row is not None:
            place = len(row) - _STEP
            while place >= _FIRST and row[place] > oldest:
                total += row[place + column]
                place -= _STEP
    return total


def _active_days(situation: Situation, kinds: tuple[str, ...], days: int) -> int:
    found: set[int] = set()
    oldest = situation.now_ms // DAY_MS - days
    for kind in kinds:
        row = situation.customer.types.get(kind, ())
        found.update(day for day in row[_FIRST::_STEP] if day > oldest)
    return len(found)
