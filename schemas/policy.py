"""A policy pack: what may be proposed to whom, as marketing wrote it. YAML; schemas/policy_reader.py reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.conditions import Condition
from schemas.contact_policy import ContactPolicy
from schemas.vocabulary import ActionClass, Channel, EventType, Measure

VALUE_AT_RISK: Final = "value_at_risk"
"""Written instead of an amount: the action is worth what the company stands to lose with the customer."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """How an action is presented on one channel; the first one that may be used now is taken.

    `placement` names a place within the channel, such as `home-hero`; empty for none.
    """

    id: str
    channel: Channel
    content: Mapping[str, str]
    placement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that may be proposed. Priority = propensity x context weight x value x lever.

    `value_minor` None stands for the customer's value at risk. `triggers` are those of the pack that it answers
    to. Durations are milliseconds; `repeat_after_ms` 0 lets it repeat at once. A `fallback` is looked at only when
    nothing else may be proposed.
    """

    id: str
    title: str
    issue: str
    group: str
    action_class: ActionClass
    triggers: tuple[EventType, ...]
    propensity: float
    context_weight: float
    context_weights: Mapping[EventType, float]
    value_minor: int | None
    lever: float
    validity_ms: int
    max_trigger_age_ms: int
    repeat_after_ms: int
    eligibility: Condition | None
    applicability: Condition | None
    suitability: Condition | None
    treatments: tuple[Treatment, ...]
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A number about the customer that conditions refer to as `aggregate.<id>`.

    The events of those types within the newest `days` UTC days, today included: how many, the sum of their amounts in
    minor units, on how many days; or the days since the newest, for which `days` is 0.
    """

    id: str
    events: tuple[EventType, ...]
    measure: Measure
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy pack; `actions` by id. A trigger with a condition in `when` asks for a decision only if it holds."""

    name: str
    version: int
    description: str
    triggers: tuple[EventType, ...]
    when: Mapping[EventType, Condition]
    actions: tuple[Action, ...]
    aggregates: tuple[Aggregate, ...] = ()
    contact: ContactPolicy = field(default_factory=ContactPolicy)


@dataclass(frozen=True, slots=True, order=True)
class PolicyFault:
    """One error: line and column from 1, the path in the document, what is wrong, what to do."""

    line: int
    column: int
    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        """Return it as an editor can jump to it, without the file's name."""
        place = f" ({self.where})" if self.where else ""
        return f"{self.line}:{self.column}: {self.message}{place}; {self.remedy}"


class InvalidPolicy(ValueError):
    """A policy document with errors; `faults` holds all of them in the order of the text."""

    def __init__(self, faults: list[PolicyFault]) -> None:
        """Take the faults."""
        self.faults = sorted(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
