"""What a handler of an event is given and gives back."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from streams.customer import Customer

Event: TypeAlias = Mapping[str, Any]
"""An interaction as decoded: the fields of schemas/avro/Interaction.avsc, times as milliseconds."""


class Changed(Enum):
    """What must be looked at again after an event; handlers of most events return None."""

    CASES = "cases"
    CONSENT = "consent"


Handler: TypeAlias = Callable[[Customer, Event], Changed | None]
"""Folds one event into its customer in place; raises BadEvent before it has changed anything."""
