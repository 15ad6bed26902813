"""Whether and how a customer may be reached now: consent, cool-off, contact limits, quiet hours.

What is the same for every candidate of a decision is found out once, and only if a candidate comes to it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.contact_policy import ContactPolicy
from schemas.policy import Action, Treatment
from schemas.vocabulary import ReasonCode
from schemas.zones import zone
from streams import consent, local_time
from streams.cool_off import CoolOffs, Scope
from streams.customer import Customer
from streams.limits import Limits

NO_CONSENT: Final = ReasonCode.NO_CONSENT.value
CONTACT_LIMIT: Final = ReasonCode.CONTACT_LIMIT.value
QUIET_HOURS: Final = ReasonCode.QUIET_HOURS.value

_LATER: Final = {NO_CONSENT: 0, CONTACT_LIMIT: 1, QUIET_HOURS: 2}
"""Where several channels are closed, the reason that came last is told: it is the first to pass."""


Audience = tuple[str, tuple[str, ...]]
"""A class of actions, and the channels of one of them."""


class Route(NamedTuple):
    """A treatment with the rules of its channel, by their numbers."""

    channel: str
    treatment: Treatment
    limits: tuple[int, ...]
    quiet: tuple[int, ...]


class Reach:
    """The contact policy of a pack, asked for one customer at a time."""

    __slots__ = (
        "_consented",
        "_cool_offs",
        "_customer",
        "_limits",
        "_now_ms",
        "_quiet",
        "_quiet_now",
        "_reached",
        "_resting",
        "_rules",
        "_unknown",
        "_zones",
    )

    def __init__(self, contact: ContactPolicy) -> None:
        self._limits = Limits(contact.limits)
        self._cool_offs = CoolOffs(contact.cool_off)
        self._rules = contact.quiet_hours
        self._unknown = tuple(zone(name) for name in contact.zones)
        self.begin(Customer(), 0)

    def begin(self, customer: Customer, now_ms: int) -> None:
        """Begin with a customer: what was found out for the one before no longer counts."""
        self._customer = customer
        self._now_ms = now_ms
        self._zones: Sequence[ZoneInfo] | None = None
        self._consented: dict[Audience, bool] = {}
        self._reached: dict[int, bool] = {}
        self._quiet_now: dict[int, bool] = {}
        self._resting: frozenset[Scope] | None = None

    def routes(self, action: Action) -> tuple[Route, ...]:
        """Return the ways of an action to a customer, in the order of its treatments."""
        return tuple(
            Route(
                treatment.channel.value,
                treatment,
                self._limits.about(action, treatment.channel),
                tuple(
                    number
                    for number, rule in enumerate(self._rules)
                    if action.action_class in rule.classes and (not rule.channels or treatment.channel in rule.channels)
                ),
            )
            for treatment in action.treatments
        )

    def scopes(self, action: Action) -> tuple[Scope, ...]:
        """Return what an action rests with."""
        return self._cool_offs.about(action)

    def rests(self, scopes: tuple[Scope, ...]) -> bool:
        """Return whether an action of these scopes is to rest now."""
        if not scopes:
            return False
        if self._resting is None:
            self._resting = self._cool_offs.resting(self._customer, self._now_ms)
        return any(scope in self._resting for scope in scopes)

    def has_consent(self, audience: Audience) -> bool:
        """Return whether consent allows a class of actions on any of its channels."""
        found = self._consented.get(audience)
        if found is None:
            action_class, channels = audience
            found = any(consent.allowed(self._customer, action_class, channel) for channel in channels)
            self._consented[audience] = found
        return found

    def choose(self, action_class: str, routes: tuple[Route, ...]) -> Route | str:
        """Return the first route that is open now, or the reason why none is."""
        told = NO_CONSENT
        for route in routes:
            if not consent.allowed(self._customer, action_class, route.channel):
                reason = NO_CONSENT
            elif any(self._is_reached(number) for number in route.limits):
                reason = CONTACT_LIMIT
            elif any(self._is_quiet(number) for number in route.quiet):
                reason = QUIET_HOURS
            else:
                return route
            if _LATER[reason] > _LATER[told]:
                told = reason
        return told

    def last_moment(self, quiet: tuple[int, ...], valid_until_ms: int) -> int:
        """Return until when an action may go out: to the end of its validity, or until quiet hours begin."""
        for number in quiet:
            begins = local_time.next_quiet(self._rules[number], self._local(), self._now_ms)
            valid_until_ms = min(valid_until_ms, begins - 1)
        return valid_until_ms

    def is_closed(self, route: Route, valid_until_ms: int) -> bool:
        """Return whether quiet hours have begun, or will before an action on that route expires."""
        return (
            any(self._is_quiet(number) for number in route.quiet)
            or self.last_moment(route.quiet, valid_until_ms) < valid_until_ms
        )

    def _local(self) -> Sequence[ZoneInfo]:
        if self._zones is None:
            self._zones = local_time.zones_of(self._customer, self._unknown)
        return self._zones

    def _is_reached(self, number: int) -> bool:
        found = self._reached.get(number)
        if found is None:
            found = self._reached[number] = self._limits.is_reached(number, self._customer, self._now_ms, self._local())
        return found

    def _is_quiet(self, number: int) -> bool:
        found = self._quiet_now.get(number)
        if found is None:
            found = self._quiet_now[number] = local_time.is_quiet(self._rules[number], self._local(), self._now_ms)
        return found
