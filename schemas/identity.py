"""From an identifier to the surrogate that stands for the customer, and from there to the journal partition.

A surrogate is a keyed digest: it reveals nothing without the secret, needs no look-up, and is the same wherever
the identifier turns up. Identifiers themselves stand only in the key of the interactions topic and in personal
blocks.
"""

import hmac
import re
from typing import Final

SURROGATE_KEY_PREFIX: Final = b"attune:"
SURROGATE_LENGTH: Final = 32

_SURROGATE_KEY = re.compile(rb"attune:[0-9a-f]{32}\Z")
_SURROGATE = re.compile(r"[0-9a-f]{32}\Z")
_IDENTIFIER_KEY = re.compile(rb"[A-Za-z0-9._-]+:.+\Z", re.DOTALL)


class MalformedKey(ValueError):
    """A key that names no customer: missing, or not `namespace:value` in UTF-8."""


def surrogate(secret: bytes, identifier: str | bytes) -> str:
    """Return the surrogate of an identifier: the first 16 bytes of HMAC-SHA256(secret, identifier), in hex.

    `identifier` is `namespace:value`; text is taken as UTF-8. ValueError for an empty secret or identifier.
    """
    message = identifier.encode() if isinstance(identifier, str) else identifier
    if not secret or not message:
        raise ValueError("a surrogate needs a secret and an identifier, one of them is empty")
    return hmac.digest(secret, message, "sha256")[:16].hex()


def is_surrogate_key(key: bytes | None) -> bool:
    """Tell whether a key of the interactions topic is `attune:<surrogate>` already, as connectors answer with."""
    return key is not None and _SURROGATE_KEY.match(key) is not None


def surrogate_key(customer: str) -> bytes:
    """Return the key under which one who knows only the surrogate publishes an interaction of that customer."""
    return SURROGATE_KEY_PREFIX + customer.encode()


def customer_of_key(secret: bytes, key: bytes | None) -> str:
    """Return the surrogate that a key of the interactions topic means.

    `attune:<surrogate>` is taken as it is, `namespace:value` is digested. MalformedKey for anything else, without
    quoting the key, which may hold personal data.
    """
    if not key:
        raise MalformedKey("the record has no key; publish it with `namespace:value` of the customer as its key")
    if _SURROGATE_KEY.match(key):
        return key[len(SURROGATE_KEY_PREFIX) :].decode()
    if key.startswith(SURROGATE_KEY_PREFIX) or not _IDENTIFIER_KEY.match(key):
        raise MalformedKey(
            f"the record's key ({len(key)} bytes) is neither `namespace:value` nor `attune:` with 32 hex digits"
        )
    try:
        key.decode()
    except UnicodeDecodeError as error:
        raise MalformedKey(f"the record's key ({len(key)} bytes) is not UTF-8") from error
    return surrogate(secret, key)


def is_surrogate(text: str) -> bool:
    """Tell whether a text has the form of a surrogate: 32 lower-case hex digits."""
    return _SURROGATE.match(text) is not None


def journal_partition(customer: str, partitions: int) -> int:
    """Return the journal partition, 0 to partitions - 1, that owns a surrogate."""
    return int(customer[:8], 16) % partitions
