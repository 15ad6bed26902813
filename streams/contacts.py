"""Every contact, whoever began it: whole for a while, counted for ever."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec

from streams.customer import DIGEST_BYTES, RECENT_CONTACTS, RECENT_IDS, Contact, Customer
from streams.errors import BadEvent
from streams.meaning import Event

LONGEST_TEXTS: Final = 2_048
"""Bytes in UTF-8 that the text fields of one event may have together."""

KEPT_ATTRIBUTES: Final = 1_024
"""Bytes in UTF-8 of attributes that are kept with a contact; more of them are left out as a whole."""

LONGEST_CHARACTER: Final = 4
"""Bytes: few characters are not counted again as bytes."""

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Contact).decode


def identity(event: Event) -> bytes:
    """Return a digest of what tells an event from every other one: its source and its id there."""
    source = event["source"]
    return blake2b(f"{len(source)}:{source}{event['event_id']}".encode(), digest_size=DIGEST_BYTES).digest()


def whole(customer: Customer) -> list[Contact]:
    """Return the newest contacts, whole, in the order of their arrival."""
    return [_DECODE(encoded) for encoded in customer.recent]


def note(customer: Customer, event: Event, known_as: bytes) -> None:
    """Keep a contact: whole among the newest to arrive, and in the count of its channel.

    `known_as` is the event's identity.
    """
    channel = event["channel"]
    at = event["occurred_at"]
    customer.contacts[channel] = customer.contacts.get(channel, 0) + 1
    if customer.events == 0:
        customer.first_seen_ms = customer.last_seen_ms = at
    elif at > customer.last_seen_ms:
        customer.last_seen_ms = at
    elif at < customer.first_seen_ms:
        customer.first_seen_ms = at
    customer.events += 1
    attributes = event["attributes"]
    if attributes and _bytes((*attributes, *attributes.values())) > KEPT_ATTRIBUTES:
        attributes = {}
    recent = customer.recent
    recent.append(
        _ENCODE(
            Contact(
                at,
                event["type"],
                channel,
                event["source"],
                event["event_id"],
                event["touchpoint"],
                event["amount_minor"],
                event["reference"],
                event["decision_id"],
                attributes,
            )
        )
    )
    if len(recent) > RECENT_CONTACTS:
        del recent[0]
    customer.recent_ids = (customer.recent_ids + known_as)[-RECENT_IDS * DIGEST_BYTES :]


def check(event: Event) -> None:
    """Raise BadEvent for an event without type or id, or with texts too long to be kept."""
    kind, id_ = event["type"], event["event_id"]
    if not kind or not id_:
        raise BadEvent("type or event_id is empty; give each event a type, and an id that tells duplicates")
    source, touchpoint, currency = event["source"], event["touchpoint"], event["currency"]
    about, answers = event["reference"] or "", event["decision_id"] or ""
    length = len(kind) + len(id_) + len(source) + len(touchpoint) + len(currency) + len(about) + len(answers)
    if length * LONGEST_CHARACTER <= LONGEST_TEXTS:
        return
    length = _bytes((kind, id_, source, touchpoint, currency, about, answers))
    if length > LONGEST_TEXTS:
        raise BadEvent(f"the text fields have {length} bytes, at most {LONGEST_TEXTS} are kept; shorten them")


def _bytes(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)
