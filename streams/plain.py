"""Plain conditions as Python functions: one for each, and one that judges all candidates of a trigger at once.

A pack has hundreds of conditions over some dozen variables. In one function each variable is computed once and stays a
local, and a condition takes a twentieth of a microsecond; `tests/benchmarks/core.py` prints what that is worth.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from schemas.conditions import Condition
from schemas.policy import Action
from schemas.policy_variables import flat_name
from schemas.vocabulary import ReasonCode
from streams.situation import Situation

Values = Mapping[str, Callable[[Situation], Any]]
"""How each variable is computed."""

Stages = Callable[[Situation], list[str | None]]
"""Of each candidate the reason that removed it, None where it passed, or ASK where its conditions are not plain."""

ASK: Final = "ASK"


def condition(one: Condition, values: Values) -> Callable[[Situation], bool] | None:
    """Return a plain condition as a function; None for one that is not plain."""
    return None if one.plain is None else _function(one.plain[0], one.plain[1], values)


def stages(actions: Sequence[Action], values: Values) -> Stages:
    """Return the function that judges the engagement policies of all actions; it raises what a variable raises.

    A condition that several of them share, and that can always be decided, is judged once, first.
    """
    every = [engagement(action) for action in actions]
    count = Counter(one.plain[0] for own in every for _, one in own if one.plain is not None and not one.needs_risk)
    shared = {text: f"shared_{number}" for number, text in enumerate(text for text, n in count.items() if n > 1)}
    names: set[str] = set()
    verdicts = []
    for own in every:
        if any(one.plain is None for _, one in own):
            verdicts.append(repr(ASK))
            continue
        verdict = ""
        for reason, one in own:
            assert one.plain is not None
            if one.needs_risk:
                verdict += f"{ReasonCode.CONDITION_ERROR.value!r} if s.churn_risk is None else "
            verdict += f"{reason!r} if not {shared.get(one.plain[0], one.plain[0])} else "
            names |= set(one.plain[1])
        verdicts.append(f"{verdict}None")
    judged = [f"{local} = {text}" for text, local in shared.items()]
    return _function(f"[{', '.join(verdicts)}]", sorted(names), values, judged)


def engagement(action: Action) -> list[tuple[str, Condition]]:
    """Return the stages of the engagement policy that an action has, each with the reason that it gives."""
    return [
        (reason.value, one)
        for reason, one in (
            (ReasonCode.NOT_ELIGIBLE, action.eligibility),
            (ReasonCode.NOT_APPLICABLE, action.applicability),
            (ReasonCode.NOT_SUITABLE, action.suitability),
        )
        if one is not None
    ]


def _function(
    expression: str, names: Iterable[str], values: Values, before: Iterable[str] = ()
) -> Callable[[Situation], Any]:
    """Return an expression as a function of the situation `s`, its variables computed first, then what comes before.

    The text is made of numbers, quoted texts, flat names of declared variables, reason codes and operators alone
    (schemas/plain_conditions.py).
    """
    lines = [f" {flat_name(name)} = compute_{flat_name(name)}(s)" for name in names]
    scope: dict[str, Any] = {f"compute_{flat_name(name)}": values[name] for name in names}
    source = "\n".join(["def judge(s):", *lines, *(f" {line}" for line in before), f" return {expression}"])
    exec(compile(source, "<plain conditions>", "exec"), scope)  # noqa: S102 - our own text
    judge: Callable[[Situation], Any] = scope["judge"]
    return judge
