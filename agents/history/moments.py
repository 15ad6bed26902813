"""Moments as a person types them: RFC 3339, or how long ago."""

import re
from datetime import datetime
from typing import Final

from agents.errors import UsageError

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_AGO = re.compile(r"([0-9]{1,9})\s*([smhdw])(?:\s+ago)?\Z")


def moment_ms(text: str, now_ms: int, flag: str) -> int:
    """Return milliseconds since 1970 of `2026-01-31T09:15:00Z`, `2d ago` or `now`.

    UsageError naming the flag for anything else, and for what lies before 1970; a time without its zone is refused,
    since it would mean another moment on another machine.
    """
    words = text.strip()
    if words == "now":
        return now_ms
    if (ago := _AGO.match(words)) is not None:
        return _of_the_log(now_ms - int(ago[1]) * _UNITS_MS[ago[2]], text, flag)
    try:
        moment = datetime.fromisoformat(words)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        what = "has no zone" if moment is not None else "is no time"
        raise UsageError(
            f"{flag} {text!r} {what}", "write e.g. 2026-01-31T09:15:00Z, 2026-01-31T10:15:00+01:00, `2d ago` or now"
        )
    return _of_the_log(round(moment.timestamp() * 1000), text, flag)


def _of_the_log(time_ms: int, text: str, flag: str) -> int:
    if time_ms < 0:
        raise UsageError(f"{flag} {text!r} is before 1970, and nothing is older", "name a later time")
    return time_ms
