"""The part of a pack that declares aggregates, and the variables that conditions get by it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.contact_policy import LONGEST_WINDOW_DAYS
from schemas.policy import Aggregate
from schemas.policy_variables import VARIABLES, Variable, VariableType
from schemas.policy_words import chosen_once, identifier, listed_once
from schemas.vocabulary import EventType, Measure
from schemas.yaml_nodes import Node

MOST_AGGREGATES: Final = 100
DAY_MS: Final = 86_400_000

_NAME: Final = r"[a-z][a-z0-9_]{0,63}"
_NAME_SAYS: Final = "a name of small letters, digits and underscores, at most 64"
_FIELDS: Final = ("id", "events", "measure", "window")
_SAYS: Final = {
    Measure.COUNT: "number of {} in {} days",
    Measure.AMOUNT: "sum of the amounts of {} in {} days, minor units",
    Measure.ACTIVE_DAYS: "days with {} among {} days",
    Measure.DAYS_SINCE: "days since the newest {}; 36500.0 if never",
}


def read_aggregates(node: Node | None) -> tuple[Aggregate, ...]:
    """Read the list of aggregates, in the order of their ids."""
    items = listed_once(node, "declare at least one, or leave the field out")
    if node is not None and len(items) > MOST_AGGREGATES:
        node.fault(f"{len(items)} aggregates", f"declare at most {MOST_AGGREGATES}")
        return ()
    ids: list[str] = []
    return tuple(sorted((_aggregate(item, ids) for item in items), key=lambda aggregate: aggregate.id))


def variables_with(aggregates: tuple[Aggregate, ...]) -> Mapping[str, Variable]:
    """Return every variable of a pack's conditions: those that all packs have, and its aggregates."""
    if not aggregates:
        return VARIABLES
    own = {
        f"aggregate.{aggregate.id}": Variable(
            VariableType.DOUBLE if aggregate.measure is Measure.DAYS_SINCE else VariableType.INT,
            _SAYS[aggregate.measure].format(" or ".join(aggregate.events), aggregate.days),
        )
        for aggregate in aggregates
    }
    return MappingProxyType({**VARIABLES, **own})


def _aggregate(node: Node, ids: list[str]) -> Aggregate:
    fields = node.mapping(_FIELDS, ("id", "events", "measure"))
    events = chosen_once(fields.get("events"), EventType, "name at least one event type")
    measure = fields["measure"].choice(Measure) if "measure" in fields else None
    window, days = fields.get("window"), 0
    if window is not None:
        if measure is Measure.DAYS_SINCE:
            window.fault_at_key("days_since has no window", "leave it out")
        length = window.duration_ms("1d", f"{LONGEST_WINDOW_DAYS}d") or 0
        days = length // DAY_MS
        if length % DAY_MS:
            window.fault("an aggregate's window is of whole days", "write such as 7d or 4w")
    elif measure is not None and measure is not Measure.DAYS_SINCE:
        node.fault(f"the measure {measure} needs a window", "add one, e.g. window: 28d")
    id_ = identifier(fields, ids, "aggregate", _NAME, _NAME_SAYS)
    return Aggregate(id_, events, measure or Measure.COUNT, days)
