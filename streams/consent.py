"""Consent per purpose and channel.

Marketing needs consent given; service and transactional actions are allowed unless withdrawn; mandatory ones
need none. Of the words on `purpose/CHANNEL` and `purpose/*` the newest counts; at one moment the withdrawal. A word
that is ahead of the clock counts as said when it was heard (`streams.meaning.as_heard`), so that a yes of a source
whose clock is fast never outlasts a no that was said after it was heard.
"""

from collections.abc import Mapping
from typing import Final

from schemas.vocabulary import ActionClass, Channel, Purpose
from streams.customer import Consent, Customer
from streams.errors import BadEvent
from streams.meaning import Changed, Event

EVERY_CHANNEL: Final = "*"

PURPOSE: Final[Mapping[str, str | None]] = {
    ActionClass.MANDATORY.value: None,
    ActionClass.TRANSACTIONAL.value: Purpose.SERVICE.value,
    ActionClass.SERVICE.value: Purpose.SERVICE.value,
    ActionClass.MARKETING.value: Purpose.MARKETING.value,
}
"""The purpose whose consent a class of actions needs."""

_KEYS: Final = {
    (action_class, channel.value): (f"{purpose}/{channel.value}", f"{purpose}/{EVERY_CHANNEL}")
    for action_class, purpose in PURPOSE.items()
    for channel in Channel
}
_MARKETING: Final = ActionClass.MARKETING.value
_PURPOSES: Final = tuple(purpose.value for purpose in Purpose)
_CHANNELS: Final = (*(channel.value for channel in Channel), EVERY_CHANNEL)


def given(customer: Customer, event: Event) -> Changed:
    """Fold `consent.given`; attribute `purpose` is needed, attribute `channel` missing means every channel."""
    attributes = event["attributes"]
    purpose = attributes.get("purpose")
    if purpose is None:
        raise BadEvent(
            f"consent.given has no attribute purpose; send one of {', '.join(_PURPOSES)}: consent is never guessed"
        )
    return _note(customer, event, (_known(purpose, "purpose", _PURPOSES),), given=True)


def withdrawn(customer: Customer, event: Event) -> Changed:
    """Fold `consent.withdrawn`; attribute `purpose` missing means every purpose, `channel` every channel."""
    purpose = event["attributes"].get("purpose")
    purposes = _PURPOSES if purpose is None else (_known(purpose, "purpose", _PURPOSES),)
    return _note(customer, event, purposes, given=False)


def allowed(customer: Customer, action_class: str, channel: str) -> bool:
    """Return whether consent lets an action of that class go out on that channel."""
    if PURPOSE[action_class] is None:
        return True
    special_key, general_key = _KEYS[action_class, channel]
    special = customer.consents.get(special_key)
    general = customer.consents.get(general_key)
    if special is None:
        newest = general
    elif general is None or (special.at_ms, not special.given) > (general.at_ms, not general.given):
        newest = special
    else:
        newest = general
    if newest is None:
        return action_class != _MARKETING
    return newest.given


def _note(customer: Customer, event: Event, purposes: tuple[str, ...], *, given: bool) -> Changed:
    channel = _known(event["attributes"].get("channel", EVERY_CHANNEL), "channel", _CHANNELS)
    at = event["occurred_at"]
    for purpose in purposes:
        key = f"{purpose}/{channel}"
        known = customer.consents.get(key)
        if known is None or (at, not given) > (known.at_ms, not known.given):
            customer.consents[key] = Consent(at, given)
    return Changed.CONSENT


def _known(value: str, name: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise BadEvent(f"attribute {name} is {value[:40]!r}; send one of {', '.join(choices)}")
    return value
