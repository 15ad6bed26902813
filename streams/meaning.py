"""What a handler of an event is given and gives back."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

from streams.customer import Customer

Event: TypeAlias = Mapping[str, Any]
"""An interaction as decoded: the fields of schemas/avro/Interaction.avsc, times as milliseconds."""

PLACE: Final = "place"
"""A field that the step adds to a word that is ahead of the clock: its place in the journal; see `as_heard`."""


def as_heard(event: Event, clock_ms: int, place: int) -> Event:
    """Return a word as one that was said when it was heard, if it claims to be of later than `clock_ms`.

    Of words on one matter the newest counts. A source whose clock is fast must not outlast what is said after it,
    so that no word is newer than the newest time that its partition knew when it arrived. What follows:

    - Words that are not ahead of the clock count by their own times, in whatever order they arrive.
    - A word that is ahead beats those that arrived before it, or ties with those that were ahead at the same
      clock. Of such a tie a withdrawal of consent wins, and of cases the later in the journal (`PLACE`).
    - Places only grow in a partition, and go on from those of the old one where the journal was split.
    - Before anything has told the time, nothing is ahead of it, and words count by their own times.
    """
    if not clock_ms or event["occurred_at"] <= clock_ms:
        return event
    return {**event, "occurred_at": clock_ms, PLACE: place + 1}


class Changed(Enum):
    """What must be looked at again after an event; handlers of most events return None."""

    CASES = "cases"
    CONSENT = "consent"
    PROFILE = "profile"


Handler: TypeAlias = Callable[[Customer, Event], Changed | None]
"""Folds one event into its customer in place; raises BadEvent before it has changed anything."""
