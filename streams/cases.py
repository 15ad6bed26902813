"""Billing and service: disputes and cases, counted by id.

Of each id only the newest word is kept, newest by (event time, place in the journal if it was ahead of the
clock, rank), so that events may come in any order and any number of times: a resolution that arrives before
its opening closes it, a later opening or a reopening opens it again, and at one and the same moment a
reopening beats a resolution, which beats an opening. `streams.meaning.as_heard` says what being ahead means.
"""

from typing import Final

from streams.customer import CLOSED_CASES, LONGEST_REFERENCE, OPEN_CASES, Case, Customer
from streams.errors import BadEvent
from streams.meaning import PLACE, Changed, Event

OPENED: Final = 0
CLOSED: Final = 1
REOPENED: Final = 2


def dispute_opened(customer: Customer, event: Event) -> Changed:
    """Fold `bill.disputed`."""
    return _note(customer, event, OPENED, is_dispute=True)


def dispute_resolved(customer: Customer, event: Event) -> Changed:
    """Fold `dispute.resolved`."""
    return _note(customer, event, CLOSED, is_dispute=True)


def case_opened(customer: Customer, event: Event) -> Changed:
    """Fold `case.opened`."""
    return _note(customer, event, OPENED, is_dispute=False)


def case_resolved(customer: Customer, event: Event) -> Changed:
    """Fold `case.resolved`; a dispute of that id is closed too."""
    return _note(customer, event, CLOSED, is_dispute=False)


def case_reopened(customer: Customer, event: Event) -> Changed:
    """Fold `case.reopened`; a dispute of that id is open again."""
    return _note(customer, event, REOPENED, is_dispute=False)


def complaint(customer: Customer, event: Event) -> None:
    """Fold `complaint.made`."""
    customer.complaints += 1
    customer.last_complaint_ms = max(customer.last_complaint_ms, event["occurred_at"])


def open_disputes(customer: Customer) -> list[str]:
    """Return the ids of open disputes, in the order in which they were first heard of."""
    return [id_ for id_, case in customer.cases.items() if case.is_dispute and case.rank != CLOSED]


def open_cases(customer: Customer) -> int:
    """Return the number of open cases, disputes included."""
    return sum(1 for case in customer.cases.values() if case.rank != CLOSED)


def _note(customer: Customer, event: Event, rank: int, *, is_dispute: bool) -> Changed:
    reference = event["reference"]
    if not reference:
        raise BadEvent(f"{event['type']} has no reference; name the dispute or case that it is about")
    _short(reference, "reference", "quote the id of the dispute or case alone")
    _short(event["event_id"], "event_id", "send a shorter one, such as a UUID or a digest of it")
    word = (event["occurred_at"], event.get(PLACE, 0), rank)
    known = customer.cases.get(reference)
    was_open = False
    if known is not None:
        is_dispute = is_dispute or known.is_dispute
        was_open = known.rank != CLOSED
        word = max(word, (known.at_ms, known.place, known.rank))
    opens = word[2] != CLOSED and not was_open
    if opens and len(customer.cases) >= OPEN_CASES and open_cases(customer) >= OPEN_CASES:
        raise BadEvent(
            f"the customer has {OPEN_CASES} open cases and no more are kept; close those that are done, and check "
            "that the source names a case by the same reference each time"
        )
    customer.cases[reference] = Case(word[0], word[2], is_dispute, word[1])
    if rank == CLOSED and len(customer.cases) > CLOSED_CASES:
        _forget(customer)
    return Changed.CASES


def _short(text: str, field: str, remedy: str) -> None:
    length = len(text.encode())
    if length > LONGEST_REFERENCE:
        raise BadEvent(f"{field} has {length} bytes, at most {LONGEST_REFERENCE} are kept of a case; {remedy}")


def _forget(customer: Customer) -> None:
    closed = sorted((case.at_ms, id_) for id_, case in customer.cases.items() if case.rank == CLOSED)
    for _, id_ in closed[:-CLOSED_CASES]:
        del customer.cases[id_]
