"""Contact limits: how many contacts a person may get within a window, across channels and senders, exactly.

What counts: every action that waits (it may go out at any moment, so it holds a slot whatever the window), and every
contact made within the window. So no interleaving of decisions, dispatches and late reports exceeds a limit; what goes
out after its recall (an escape) still counts afterwards. `tests/streams/test_limits.py` holds this against a recount.
"""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from schemas.contact_policy import ContactLimit
from schemas.policy import Action
from schemas.vocabulary import Channel
from streams import local_time
from streams.customer import Customer, Made, Queued


class _Limit:
    """One limit with its filters as plain texts."""

    __slots__ = ("actions", "channels", "classes", "groups", "issues", "rule")

    def __init__(self, rule: ContactLimit) -> None:
        self.rule = rule
        self.classes = frozenset(action_class.value for action_class in rule.classes)
        self.channels = frozenset(channel.value for channel in rule.channels)
        self.issues = frozenset(rule.issues)
        self.groups = frozenset(rule.groups)
        self.actions = frozenset(rule.actions)

    def covers(self, contact: Made | Queued) -> bool:
        """Return whether a contact counts here."""
        return self.admits(contact.action_class, contact.channel, contact.issue, contact.group, contact.action_id)

    def admits(self, action_class: str, channel: str, issue: str, group: str, action_id: str) -> bool:
        """Return whether the limit is about such contacts."""
        return (
            action_class in self.classes
            and (not self.channels or channel in self.channels)
            and (not self.issues or issue in self.issues)
            and (not self.groups or group in self.groups)
            and (not self.actions or action_id in self.actions)
        )

    def count(self, customer: Customer, since_ms: int) -> int:
        """Return what counts from a moment on."""
        total = sum(self.covers(queued) for queued in customer.queue.values())
        for made in customer.made.values():
            if self.rule.impressions and made.seen and self.covers(made):
                total += sum(at >= since_ms for at in made.seen)
            if made.at_ms >= since_ms and self.covers(made):
                total += 1
        return total


class Limits:
    """The limits of a policy."""

    def __init__(self, rules: Sequence[ContactLimit]) -> None:
        self._limits = [_Limit(rule) for rule in rules]

    def about(self, action: Action, channel: Channel) -> tuple[int, ...]:
        """Return which limits an action on a channel must keep."""
        words = (action.action_class.value, channel.value, action.issue, action.group, action.id)
        return tuple(number for number, limit in enumerate(self._limits) if limit.admits(*words))

    def is_reached(self, number: int, customer: Customer, now_ms: int, zones: Sequence[ZoneInfo]) -> bool:
        """Return whether one more contact now would be one too many."""
        limit = self._limits[number]
        rule = limit.rule
        if rule.calendar is None:
            since_ms = now_ms - rule.window_ms + 1
        else:
            since_ms = local_time.window_start(rule.calendar, zones, now_ms)
        if customer.made_forgotten_ms >= since_ms:
            return True  # more than can be remembered: the count is not known, so nothing more goes out
        return limit.count(customer, since_ms) >= rule.at_most
