"""From what a user types for a customer to the surrogate; the key itself goes nowhere else."""

from agents.errors import UsageError
from agents.settings import Settings


def surrogate_of(settings: Settings, key: str) -> str:
    """Return the surrogate that a key means: `namespace:value`, `attune:<surrogate>`, or the surrogate alone.

    UsageError for what names nobody, without quoting it.
    """
    from schemas import identity

    if identity.is_surrogate(key):
        return key
    raw = key.encode("utf-8", "surrogateescape")
    secret = b"unused" if identity.is_surrogate_key(raw) else settings.identity_secret()
    try:
        return identity.customer_of_key(secret, raw)
    except identity.MalformedKey as error:
        raise UsageError(
            "KEY names no customer", "write `namespace:value`, e.g. loyalty:4711, or a surrogate of 32 hex digits"
        ) from error
