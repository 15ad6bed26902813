"""Time zones by their IANA names, from the package tzdata alone.

Quiet hours and calendar windows are part of what a journal folds to, so that the rules of zones must be the same on
every machine: the copy that an operating system has is not looked at.
"""

from functools import cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

_FILES: Final = files("tzdata") / "zoneinfo"

ZONES: Final = frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())
"""Every known name."""


@cache
def zone(name: str) -> ZoneInfo:
    """Return a zone; raises KeyError for an unknown name."""
    if name not in ZONES:
        raise KeyError(name)
    with _FILES.joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
