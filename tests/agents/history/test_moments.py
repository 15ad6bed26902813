"""Moments as they are typed."""

import pytest

from agents.errors import UsageError
from agents.history.moments import moment_ms

NOW = 1_769_850_900_250


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("90s ago", NOW - 90_000),
        ("2d ago", NOW - 2 * 86_400_000),
        ("1w", NOW - 7 * 86_400_000),
        ("2026-01-31T09:15:00Z", 1_769_850_900_000),
        ("2026-01-31T10:15:00.250+01:00", NOW),
    ],
)
def test_what_a_moment_may_be(text: str, expected: int) -> None:
    """RFC 3339 in any zone, a duration ago, or now; milliseconds."""
    assert moment_ms(text, NOW, "--at") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31", "2026-01-31T09:15:00", "-2d ago", "2 fortnights ago"])
def test_what_it_may_not_be(text: str) -> None:
    """Wrong use that names the flag and the text; a time without a zone means another moment elsewhere."""
    with pytest.raises(UsageError) as refused:
        moment_ms(text, NOW, "--at")
    assert "--at" in refused.value.message
    assert "2026-01-31T09:15:00Z" in refused.value.hint


@pytest.mark.parametrize("text", ["1960-01-01T00:00:00Z", "9999w ago"])
def test_nothing_is_older_than_1970(text: str) -> None:
    """Kafka knows no such time, and no record has one."""
    with pytest.raises(UsageError, match="before 1970"):
        moment_ms(text, NOW, "--from")
