"""Surrogates and journal partitions."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import identity
from schemas.identity import MalformedKey, customer_of_key, journal_partition, surrogate, surrogate_key

SECRET = b"a secret of some length, for tests"
IDENTIFIER = st.from_regex(r"[a-z]{1,8}:[^\x00]{1,30}", fullmatch=True)


def test_a_surrogate_is_the_keyed_digest() -> None:
    """The first 16 bytes of HMAC-SHA256, in hex, computed here by other means."""
    expected = hmac.new(SECRET, b"loyalty:4711", hashlib.sha256).hexdigest()[:32]
    assert surrogate(SECRET, "loyalty:4711") == surrogate(SECRET, b"loyalty:4711") == expected
    assert surrogate(b"another secret", "loyalty:4711") != expected


@given(IDENTIFIER)
def test_a_surrogate_is_stable_and_says_nothing(identifier: str) -> None:
    """Equal for equal identifiers, of its form, and a key made of it leads back to it."""
    found = surrogate(SECRET, identifier)
    assert found == customer_of_key(SECRET, identifier.encode())
    assert identity.is_surrogate(found)
    assert identity.is_surrogate_key(surrogate_key(found))
    assert customer_of_key(b"whatever secret", surrogate_key(found)) == found


@pytest.mark.parametrize(
    "key",
    [
        None, b"", b"4711", b":4711", b"loyalty:", b"lo yalty:4711", b"loyalty:\xff\xfe", b"attune:", b"attune:XYZ",
        b"attune:" + b"A" * 32, b"attune:" + b"a" * 31, b"attune:" + b"a" * 33, b"attune:" + b"a" * 32 + b"\n",
    ],
)  # fmt: skip
def test_a_key_that_names_nobody_is_malformed(key: bytes | None) -> None:
    """Missing, without a namespace, not UTF-8, or almost a surrogate; the message does not quote it."""
    with pytest.raises(MalformedKey) as caught:
        customer_of_key(SECRET, key)
    assert "4711" not in str(caught.value)
    assert not identity.is_surrogate_key(key)


def test_nothing_is_digested_without_a_secret() -> None:
    """An empty secret would make surrogates that anybody can compute."""
    with pytest.raises(ValueError, match="secret"):
        surrogate(b"", "loyalty:4711")
    with pytest.raises(ValueError, match="identifier"):
        surrogate(SECRET, "")


@given(st.lists(IDENTIFIER, min_size=1, max_size=20), st.integers(1, 100))
def test_a_partition_is_in_range_and_depends_on_the_surrogate_alone(identifiers: list[str], partitions: int) -> None:
    """0 to partitions - 1, by the first 32 bits."""
    for identifier in identifiers:
        found = surrogate(SECRET, identifier)
        assert journal_partition(found, partitions) == int(found, 16) // 2**96 % partitions


def test_customers_spread_over_the_partitions() -> None:
    """Of 6,000 customers no partition of six has fewer than 900."""
    counts = [0] * 6
    for number in range(6_000):
        counts[journal_partition(surrogate(SECRET, f"loyalty:{number}"), 6)] += 1
    assert min(counts) > 900
