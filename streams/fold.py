"""Which event means what: every source on one screen.

A declared type that is not here is a contact and no more; an undeclared one too, and it is counted.
"""

from collections.abc import Mapping
from typing import Final

from schemas.vocabulary import EventType
from streams import cases, consent, made, profile, shop
from streams.meaning import Handler

SHOP: Final[Mapping[EventType, Handler]] = {
    EventType.PURCHASE: shop.purchase,
}

BILLING: Final[Mapping[EventType, Handler]] = {
    EventType.BILL_DISPUTED: cases.dispute_opened,
    EventType.DISPUTE_RESOLVED: cases.dispute_resolved,
}

SERVICE: Final[Mapping[EventType, Handler]] = {
    EventType.CASE_OPENED: cases.case_opened,
    EventType.CASE_RESOLVED: cases.case_resolved,
    EventType.CASE_REOPENED: cases.case_reopened,
    EventType.COMPLAINT: cases.complaint,
}

CONSENT: Final[Mapping[EventType, Handler]] = {
    EventType.CONSENT_GIVEN: consent.given,
    EventType.CONSENT_WITHDRAWN: consent.withdrawn,
}

CONTACTS: Final[Mapping[EventType, Handler]] = {
    EventType.MESSAGE_SENT: made.sent,
    EventType.MESSAGE_DELIVERED: made.delivered,
    EventType.MESSAGE_OPENED: made.delivered,
    EventType.MESSAGE_CLICKED: made.clicked,
    EventType.MESSAGE_BOUNCED: made.bounced,
    EventType.MESSAGE_IGNORED: made.ignored,
    EventType.MESSAGE_WITHHELD: made.withheld,
    EventType.OFFER_PRESENTED: made.presented,
    EventType.OFFER_ACCEPTED: made.accepted,
    EventType.OFFER_REJECTED: made.rejected,
}

PROFILE: Final[Mapping[EventType, Handler]] = {
    EventType.PROFILE_CHANGED: profile.changed,
}

HANDLERS: Final[Mapping[str, Handler]] = {
    kind.value: handler
    for source in (SHOP, BILLING, SERVICE, CONSENT, CONTACTS, PROFILE)
    for kind, handler in source.items()
}
"""By the plain text of the type, which is what a decoded event holds."""

WORDS: Final = frozenset(kind.value for kind in (*BILLING, *SERVICE, *CONSENT, *PROFILE)) - {EventType.COMPLAINT.value}
"""Types of which the newest word on a matter counts; `streams.meaning.as_heard` says when a word is newer."""

DECLARED: Final[Mapping[str, EventType]] = {kind.value: kind for kind in EventType}
