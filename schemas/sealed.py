"""A block of personal data under a customer's key; its fields are those of EncryptedData and DeadLetterEnvelope."""

from typing import NamedTuple


class Sealed(NamedTuple):
    """A block and the id of its key; `nonce` has 12 bytes, `ciphertext` ends with its tag of 16."""

    key_id: str
    nonce: bytes
    ciphertext: bytes
