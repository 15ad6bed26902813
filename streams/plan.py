"""A policy made ready to decide: conditions shared, what never changes computed once.

A condition that several actions share is evaluated once per decision. Plain ones are Python; the others are CEL, where
handing over a text or a fraction costs three times an evaluation, so that a variable is handed over only when its value
differs from the last one (tests/benchmarks/core.py).
"""

from collections.abc import Mapping
from typing import Any, Final

import cel

from schemas.codec import item_writer
from schemas.conditions import Condition
from schemas.policy import Action, Policy
from schemas.policy_variables import flat_name
from schemas.primitives import Written, written
from schemas.vocabulary import ActionClass, EventType, ReasonCode
from streams import aggregates, plain
from streams.partition import Active
from streams.plain import Stages, Values
from streams.reach import Reach
from streams.situation import VALUES, Situation

UNDECIDED: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What a condition raises when it cannot be decided: no risk score yet, a missing attribute, a division by zero."""

EXPLANATIONS_BYTES: Final = 4_000_000
"""So much is remembered of each trigger's explanations."""
_POINTER_BYTES: Final = 8

_WRITE_CANDIDATE: Final = item_writer("NextBestAction", "candidates")

_RANK: Final = {action_class.value: rank for rank, action_class in enumerate(ActionClass)}


class Conditions:
    """The distinct conditions of a policy, evaluated at most once per decision, and only if it comes to them."""

    __slots__ = ("_by_cel", "_known_for", "_needs_risk", "_plain", "_results", "_situation", "_turn")

    def __init__(self, conditions: list[Condition], values: Values) -> None:
        self._needs_risk = [condition.needs_risk for condition in conditions]
        self._plain = [plain.condition(one, values) for one in conditions]
        self._by_cel = _ByCel(conditions, values)
        self._turn = 0
        self._situation: Situation | None = None
        self._results = [False] * len(conditions)
        self._known_for = [0] * len(conditions)

    def begin(self, situation: Situation) -> None:
        """Begin a decision: what was found out for the one before no longer counts."""
        self._turn += 1
        self._situation = situation

    def holds(self, index: int) -> bool:
        """Return whether a condition holds.

        Raises one of UNDECIDED when it cannot be decided.
        """
        turn = self._turn
        if self._known_for[index] == turn:
            return self._results[index]
        situation = self._situation
        assert situation is not None
        if self._needs_risk[index] and situation.churn_risk is None:
            raise LookupError("the condition needs a risk score and there is none yet")
        in_python = self._plain[index]
        result = self._by_cel.holds(index, situation, turn) if in_python is None else in_python(situation)
        self._results[index] = result
        self._known_for[index] = turn
        return result


class _ByCel:
    """Conditions as CEL. Variables are handed over flat, and only when they differ from the last ones."""

    __slots__ = ("_context", "_handed", "_handed_for", "_items")

    def __init__(self, conditions: list[Condition], values: Values) -> None:
        names = sorted({name for condition in conditions for name in condition.variables})
        self._items = [
            (
                condition.program.execute,
                [(names.index(name), flat_name(name), values[name]) for name in condition.variables],
            )
            for condition in conditions
        ]
        self._context = cel.Context()
        self._handed: list[Any] = [None] * len(names)
        self._handed_for = [0] * len(names)

    def holds(self, index: int, situation: Situation, turn: int) -> bool:
        """Return whether a condition holds; `turn` tells one situation from another."""
        execute, variables = self._items[index]
        handed, handed_for = self._handed, self._handed_for
        for variable, name, compute in variables:
            if handed_for[variable] != turn:
                value = compute(situation)
                if value != handed[variable]:
                    self._context.add_variable(name, value)
                    handed[variable] = value
                # Last: where computing raised, the next condition must not see the value of the customer before.
                handed_for[variable] = turn
        return execute(self._context) is True


class Candidate:
    """An action with everything about it that does not depend on the customer."""

    __slots__ = (
        "action",
        "action_class",
        "audience",
        "explained",
        "fallback",
        "id",
        "lasting",
        "lever",
        "max_trigger_age_ms",
        "propensity",
        "rank",
        "repeat_after_ms",
        "routes",
        "scopes",
        "stages",
        "value_minor",
        "weight",
        "weights",
    )

    def __init__(self, action: Action, number: Mapping[Condition, int], reach: Reach) -> None:
        self.action = action
        self.id = action.id
        self.action_class = action.action_class.value
        self.rank = _RANK[action.action_class.value]
        self.weights = {trigger.value: weight for trigger, weight in action.context_weights.items()}
        self.propensity = action.propensity
        self.weight = action.context_weight
        self.value_minor = action.value_minor
        self.lever = action.lever
        self.fallback = action.fallback
        self.routes = reach.routes(action)
        self.audience = (self.action_class, tuple(route.channel for route in self.routes))
        self.scopes = reach.scopes(action)
        self.lasting = _lasting(action.eligibility, number)
        """The eligibility if it is about the customer alone, so that it can be looked at again at another event."""
        self.max_trigger_age_ms = action.max_trigger_age_ms
        self.repeat_after_ms = action.repeat_after_ms
        self.stages = [(reason, number[condition]) for reason, condition in plain.engagement(action)]
        self.explained: dict[str | None, bytes] = {
            reason.value: _WRITE_CANDIDATE({"action_id": action.id, "reason": reason.value}) for reason in ReasonCode
        }
        """The record of the explanation for each reason, written once."""


def _lasting(eligibility: Condition | None, number: Mapping[Condition, int]) -> int | None:
    if eligibility is None or any(name.startswith("event.") for name in eligibility.variables):
        return None
    return number[eligibility]


class Answers:
    """The actions that answer to one trigger, by action id, so that the first of equals wins ties.

    `stages` judges all of them at once, see streams/plain.py. `priorities` are None where the value is at risk;
    `by_risk` are the numbers of those, and `best` is the number of the first candidate with the highest of the others.
    """

    __slots__ = (
        "_explanations",
        "_room",
        "best",
        "by_risk",
        "candidates",
        "priorities",
        "shortest_age_ms",
        "stages",
        "weights",
    )

    def __init__(self, trigger: str, candidates: list[Candidate], values: Values) -> None:
        self.candidates = candidates
        self.weights = [candidate.weights.get(trigger, candidate.weight) for candidate in candidates]
        self.priorities = [
            None if one.value_minor is None else one.propensity * weight * one.value_minor * one.lever
            for one, weight in zip(candidates, self.weights, strict=True)
        ]
        self.shortest_age_ms = min((candidate.max_trigger_age_ms for candidate in candidates), default=0)
        self.stages: Stages = plain.stages([candidate.action for candidate in candidates], values)
        known = [(priority, -number) for number, priority in enumerate(self.priorities) if priority is not None]
        self.best = -max(known)[1] if known else None
        self.by_risk = tuple(number for number, priority in enumerate(self.priorities) if priority is None)
        self._explanations: dict[tuple[str | None, ...], Written] = {}
        self._room = EXPLANATIONS_BYTES

    def explained(self, reasons: list[str | None]) -> Written:
        """Return the explanation of every candidate, by the reason of each.

        Customers are alike: of a few thousand decisions most have reasons that another one had, and the list of a large
        pack takes longer to write than its conditions to judge. What was written is kept within bounds.
        """
        key = tuple(reasons)
        found = self._explanations.get(key)
        if found is None:
            found = written([one.explained[reason] for one, reason in zip(self.candidates, reasons, strict=True)])
            self._room -= len(found) + _POINTER_BYTES * len(key)
            if self._room < 0:
                self._explanations.clear()
                self._room = EXPLANATIONS_BYTES
            self._explanations[key] = found
        return found


NOTHING: Final = Answers("", [], VALUES)
"""What answers to an event of a type that nobody declared."""


class Plan:
    """A policy ready to decide."""

    __slots__ = ("_when", "answers", "by_id", "conditions", "reach", "triggers")

    def __init__(self, policy: Policy) -> None:
        distinct = sorted(
            {
                condition
                for action in policy.actions
                for condition in (action.eligibility, action.applicability, action.suitability)
                if condition is not None
            }
            | set(policy.when.values()),
            key=lambda condition: condition.text,
        )
        number = {condition: index for index, condition in enumerate(distinct)}
        self.triggers = frozenset(trigger.value for trigger in policy.triggers)
        self._when = {trigger.value: number[condition] for trigger, condition in policy.when.items()}
        own = {f"aggregate.{aggregate.id}": aggregates.compute(aggregate) for aggregate in policy.aggregates}
        values = {**VALUES, **own}
        self.conditions = Conditions(distinct, values)
        self.reach = Reach(policy.contact)
        candidates = [Candidate(action, number, self.reach) for action in policy.actions]
        self.by_id = {candidate.id: candidate for candidate in candidates}
        self.answers: Mapping[str, Answers] = {
            trigger.value: Answers(trigger.value, [one for one in candidates if trigger in one.action.triggers], values)
            for trigger in EventType
        }
        """What answers to each trigger."""

    def begin(self, situation: Situation) -> None:
        """Begin a decision: what was found out for the one before no longer counts."""
        self.conditions.begin(situation)
        self.reach.begin(situation.customer, situation.now_ms)

    def asks(self, trigger: str) -> bool:
        """Return whether an event of that type asks for a decision in the situation that was begun.

        A condition that cannot be decided does not ask.
        """
        if trigger not in self.triggers:
            return False
        index = self._when.get(trigger)
        if index is None:
            return True
        try:
            return self.conditions.holds(index)
        except UNDECIDED:
            return False


def reference(active: Active | None) -> dict[str, str] | None:
    """Return a document as decisions quote it (schema DocumentRef); None where none is active."""
    if active is None:
        return None
    return {"name": active.name, "version": active.version, "sha256": active.sha256}
