"""Cool-off: after a rejection, or a silence that lasted long enough, what is in scope rests for a while."""

from collections.abc import Sequence

from schemas.contact_policy import CoolOff
from schemas.policy import Action
from schemas.vocabulary import CoolOffScope, Outcome
from streams.customer import Customer, Made
from streams.made import NO_RESPONSE, REJECT, silent_ms

Scope = tuple[int, str]
"""The number of a rule, and the action, group, issue or class that rests by it."""

_SILENT = ("PENDING", "IMPRESSION", NO_RESPONSE)


class CoolOffs:
    """The cool-off rules of a policy."""

    def __init__(self, rules: Sequence[CoolOff]) -> None:
        self._rules = list(enumerate(rules))

    def about(self, action: Action) -> tuple[Scope, ...]:
        """Return the scopes that an action is in."""
        words = (action.action_class.value, action.id, action.group, action.issue)
        return tuple(
            (number, _scope(rule, *words)) for number, rule in self._rules if action.action_class in rule.classes
        )

    def resting(self, customer: Customer, now_ms: int) -> frozenset[Scope]:
        """Return what rests now."""
        found: set[Scope] = set()
        for number, rule in self._rules:
            classes = {action_class.value for action_class in rule.classes}
            for made in customer.made.values():
                if made.action_class in classes and _rests(rule, customer, made, now_ms):
                    found.add((number, _scope(rule, made.action_class, made.action_id, made.group, made.issue)))
        return frozenset(found)


def _scope(rule: CoolOff, action_class: str, action_id: str, group: str, issue: str) -> str:
    if rule.scope is CoolOffScope.CLASS:
        return action_class
    if rule.scope is CoolOffScope.ACTION:
        return action_id
    return group if rule.scope is CoolOffScope.GROUP else issue


def _rests(rule: CoolOff, customer: Customer, made: Made, now_ms: int) -> bool:
    if made.outcome == REJECT:
        return Outcome.REJECT in rule.after and now_ms - made.outcome_ms < rule.rest_ms
    if Outcome.NO_RESPONSE not in rule.after or made.outcome not in _SILENT:
        return False
    if made.outcome == NO_RESPONSE:  # its channel has said so
        return now_ms - made.outcome_ms < rule.rest_ms
    if not made.delivered_ms:
        return False
    over = silent_ms(customer, made.delivered_ms, now_ms) - rule.response_within_ms
    return 0 <= over < rule.rest_ms
