"""The contact policy of a pack: how often, when, and how long after which outcome a customer may be contacted."""

from dataclasses import dataclass
from typing import Final

from schemas.vocabulary import ActionClass, Calendar, Channel, CoolOffScope, Outcome, Weekday

LONGEST_WINDOW_DAYS: Final = 92
"""No window is longer."""

MOST_CONTACTS: Final = 100
"""The largest limit; below the number of contacts that are remembered one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactLimit:
    """At most so many contacts within a window. Empty filters let everything through.

    The window is rolling (`window_ms`) or a local calendar's (`calendar`); exactly one is set. With `impressions` every
    further display of an offer counts too.
    """

    id: str
    at_most: int
    window_ms: int = 0
    calendar: Calendar | None = None
    classes: tuple[ActionClass, ...] = (ActionClass.MARKETING,)
    channels: tuple[Channel, ...] = ()
    issues: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    impressions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """From one local time of day to another, both in minutes since midnight, nobody is contacted.

    It goes over midnight where `until` is not after `start`, and lasts 24 hours where they are equal. `days` are those
    on which it begins; none means every day. Empty `channels` means all.
    """

    id: str
    start: int
    until: int
    days: tuple[Weekday, ...] = ()
    classes: tuple[ActionClass, ...] = (ActionClass.SERVICE, ActionClass.MARKETING)
    channels: tuple[Channel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolOff:
    """After a rejection, or so long after delivery without any response, what is in scope rests for `rest_ms`."""

    id: str
    after: tuple[Outcome, ...]
    scope: CoolOffScope
    rest_ms: int
    response_within_ms: int = 0
    classes: tuple[ActionClass, ...] = (ActionClass.MARKETING,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPolicy:
    """Everything of a pack that limits contacts.

    `zones` are those in which customers may live whose zone is not known: what is strictest in any of them holds.
    """

    zones: tuple[str, ...] = ()
    limits: tuple[ContactLimit, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    cool_off: tuple[CoolOff, ...] = ()
