"""AES-256-GCM for personal data: sealed under a key that may be erased."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.sealed import Sealed

KEY_BYTES = 32
_NONCE_BYTES = 12


class CannotOpen(ValueError):
    """The key is another one, or the block was changed."""


def new_key() -> bytes:
    """Return a random key of 32 bytes."""
    return os.urandom(KEY_BYTES)


def seal(key_id: str, key: bytes, plaintext: bytes) -> Sealed:
    """Encrypt; the key id is bound to the ciphertext."""
    nonce = os.urandom(_NONCE_BYTES)
    return Sealed(key_id, nonce, AESGCM(key).encrypt(nonce, plaintext, key_id.encode()))


def unseal(block: Sealed, key: bytes) -> bytes:
    """Decrypt; raises CannotOpen."""
    try:
        return AESGCM(key).decrypt(block.nonce, block.ciphertext, block.key_id.encode())
    except (InvalidTag, ValueError):  # the latter for a nonce of no possible length
        raise CannotOpen(
            f"the block does not open with key {block.key_id}: it was changed, or the key was replaced"
        ) from None
