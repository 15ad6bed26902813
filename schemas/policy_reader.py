"""YAML -> Policy. Every error is found in one reading, each with line and column."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from schemas import contact_policy_reader
from schemas.aggregate_reader import read_aggregates, variables_with
from schemas.conditions import Condition, read_condition
from schemas.policy import VALUE_AT_RISK, Action, InvalidPolicy, Policy, PolicyFault, Treatment
from schemas.policy_variables import Variable
from schemas.policy_words import ID, ID_SAYS, flag, identifier, listed_once
from schemas.vocabulary import ActionClass, Channel, EventType
from schemas.yaml_nodes import Fields, Node, NodeFault, document

LARGEST_DOCUMENT: Final = 500_000
MOST_ACTIONS: Final = 500

_PACK: Final = (
    "name",
    "version",
    "description",
    "triggers",
    "aggregates",
    *contact_policy_reader.FIELDS,
    "actions",
)
_REQUIRED: Final = ("id", "issue", "group", "class", "propensity", "value_minor", "validity", "treatments")
_OPTIONAL: Final = (
    "title",
    "triggers",
    "context_weight",
    "context_weights",
    "lever",
    "max_trigger_age",
    "repeat_after",
    "eligibility",
    "applicability",
    "suitability",
    "fallback",
)
_TREATMENT: Final = ("id", "channel", "placement", "content")

_TRIGGERS: Final = "name at least one event type on which to decide"

LARGEST_WEIGHT: Final = 100.0
LARGEST_VALUE_MINOR: Final = 1_000_000_000
SHORTEST: Final = "1m"
LONGEST: Final = "365d"
DEFAULT_TRIGGER_AGE_MS: Final = 86_400_000

Value = TypeVar("Value")
Variables = Mapping[str, Variable]


def read_policy(raw: bytes) -> Policy:
    """Read and check a policy document; raises InvalidPolicy with everything that is wrong."""
    faults: list[NodeFault] = []
    policy = _read(raw, faults)
    if faults or policy is None:
        raise InvalidPolicy([PolicyFault(*fault) for fault in faults])
    return policy


def _read(raw: bytes, faults: list[NodeFault]) -> Policy | None:
    if len(raw) > LARGEST_DOCUMENT:
        faults.append(
            NodeFault(1, 1, "", f"{len(raw)} bytes, at most {LARGEST_DOCUMENT} are allowed", "split the pack")
        )
        return None
    try:
        source = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        faults.append(NodeFault(line, column, "", "not UTF-8", "save the document as UTF-8 text"))
        return None
    root = document(source, faults)
    if root is None:
        return None
    fields = root.mapping(_PACK, ("name", "version", "triggers", "actions"))
    aggregates = read_aggregates(fields.get("aggregates"))
    variables = variables_with(aggregates)
    triggers, when = _pack_triggers(fields.get("triggers"), variables)
    actions = _actions(fields, triggers, variables)
    contact_policy_reader.check_names(
        fields,
        {
            "actions": frozenset(action.id for action in actions),
            "groups": frozenset(action.group for action in actions),
            "issues": frozenset(action.issue for action in actions),
        },
    )
    return Policy(
        name=_get(fields, "name", lambda node: node.text(ID, ID_SAYS), ""),
        version=_get(fields, "version", lambda node: node.whole(1, 1_000_000_000), 0),
        description=_get(fields, "description", Node.text, ""),
        triggers=triggers,
        when=when,
        actions=tuple(sorted(actions, key=lambda action: action.id)),
        aggregates=aggregates,
        contact=contact_policy_reader.read_contact_policy(fields),
    )


def _get(fields: Fields, name: str, read: Callable[[Node], Value | None], default: Value) -> Value:
    node = fields.get(name)
    value = None if node is None else read(node)
    return default if value is None else value


def _pack_triggers(
    node: Node | None, variables: Variables
) -> tuple[tuple[EventType, ...], Mapping[EventType, Condition]]:
    found: list[EventType] = []
    when: dict[EventType, Condition] = {}
    for item in listed_once(node, _TRIGGERS):
        if item.kind != "map":
            _add_trigger(item, tuple(EventType), found)
            continue
        fields = item.mapping(("event", "when"), ("event", "when"))
        trigger = _add_trigger(fields["event"], tuple(EventType), found) if "event" in fields else None
        condition = _condition(fields.get("when"), variables)
        if trigger is not None and condition is not None:
            when[trigger] = condition
    return tuple(found), MappingProxyType(when)


def _action_triggers(node: Node, allowed: tuple[EventType, ...]) -> tuple[EventType, ...]:
    found: list[EventType] = []
    for item in listed_once(node, _TRIGGERS):
        _add_trigger(item, allowed, found)
    return tuple(found)


def _add_trigger(node: Node, allowed: tuple[EventType, ...], found: list[EventType]) -> EventType | None:
    trigger = node.choice(allowed)
    if trigger in found:
        node.fault(f"{trigger} is listed twice", "leave one out")
    elif trigger is not None:
        found.append(trigger)
    return trigger


def _actions(fields: Fields, triggers: tuple[EventType, ...], variables: Variables) -> list[Action]:
    node = fields.get("actions")
    if node is None:
        return []
    items = node.items()
    if node.kind == "seq" and not 1 <= len(items) <= MOST_ACTIONS:
        node.fault(f"the pack has {len(items)} actions", f"write 1 to {MOST_ACTIONS}")
        return []
    action_ids: list[str] = []
    treatment_ids: list[str] = []
    return [_action(item, triggers, variables, action_ids, treatment_ids) for item in items]


def _action(
    node: Node, triggers: tuple[EventType, ...], variables: Variables, ids: list[str], treatment_ids: list[str]
) -> Action:
    fields = node.mapping((*_REQUIRED, *_OPTIONAL), _REQUIRED)
    id_ = identifier(fields, ids, "action")
    own = fields.get("triggers")
    validity = _get(fields, "validity", lambda node: node.duration_ms(SHORTEST, LONGEST), 0)
    action_class = _get(fields, "class", lambda node: node.choice(ActionClass), ActionClass.MARKETING)
    repeat_after = _get(fields, "repeat_after", lambda node: node.duration_ms(SHORTEST, LONGEST), 0)
    if action_class is ActionClass.MANDATORY and "repeat_after" not in fields:
        node.fault("a mandatory action has no repeat_after", "it passes all limits, so give it a guard of its own")
    return Action(
        id=id_,
        title=_get(fields, "title", Node.text, id_),
        issue=_get(fields, "issue", lambda node: node.text(ID, ID_SAYS), ""),
        group=_get(fields, "group", lambda node: node.text(ID, ID_SAYS), ""),
        action_class=action_class,
        triggers=triggers if own is None else _action_triggers(own, triggers or tuple(EventType)),
        propensity=_get(fields, "propensity", lambda node: node.number(0.0, 1.0), 0.0),
        context_weight=_get(fields, "context_weight", _weight, 1.0),
        context_weights=_weights(fields.get("context_weights"), triggers),
        value_minor=_value(fields.get("value_minor")),
        lever=_get(fields, "lever", _weight, 1.0),
        validity_ms=validity,
        max_trigger_age_ms=_get(
            fields, "max_trigger_age", lambda node: node.duration_ms(SHORTEST, LONGEST), DEFAULT_TRIGGER_AGE_MS
        ),
        repeat_after_ms=repeat_after,
        eligibility=_condition(fields.get("eligibility"), variables),
        applicability=_condition(fields.get("applicability"), variables),
        suitability=_condition(fields.get("suitability"), variables),
        treatments=_treatments(fields.get("treatments"), treatment_ids),
        fallback=flag(fields.get("fallback")),
    )


def _weight(node: Node) -> float | None:
    return node.number(0.0, LARGEST_WEIGHT)


def _weights(node: Node | None, triggers: tuple[EventType, ...]) -> Mapping[EventType, float]:
    weights: dict[EventType, float] = {}
    if node is not None:
        known = {trigger.value: trigger for trigger in triggers or tuple(EventType)}
        for name, inner in node.mapping(known).items():
            weight = _weight(inner)
            if weight is not None:
                weights[known[name]] = weight
    return MappingProxyType(weights)


def _value(node: Node | None) -> int | None:
    if node is None or (node.kind == "str" and node.text() == VALUE_AT_RISK):
        return None
    if node.kind != "int":
        node.fault("the value is no whole number of minor units", f"write an amount such as 250, or {VALUE_AT_RISK}")
        return None
    return node.whole(0, LARGEST_VALUE_MINOR)


def _condition(node: Node | None, variables: Variables) -> Condition | None:
    text = None if node is None else node.text()
    if node is None or text is None:
        return None
    condition, faults = read_condition(text, variables)
    for fault in faults:
        node.fault(fault.message, fault.remedy, fault.at)
    return condition


def _treatments(node: Node | None, ids: list[str]) -> tuple[Treatment, ...]:
    if node is None:
        return ()
    items = node.items()
    if node.kind == "seq" and not items:
        node.fault("the action has no treatment", "say how it is presented on at least one channel")
    treatments: list[Treatment] = []
    places: list[tuple[Channel, str]] = []
    for item in items:
        fields = item.mapping(_TREATMENT, ("id", "channel"))
        id_ = identifier(fields, ids, "treatment")
        channel_node = fields.get("channel")
        channel = None if channel_node is None else channel_node.choice(Channel)
        channel = channel or Channel.OTHER
        placement = _get(fields, "placement", lambda node: node.text(ID, ID_SAYS), "")
        if channel_node is not None and (channel, placement) in places:
            channel_node.fault(
                f"a second treatment for {channel}", "an action has one treatment per channel and placement"
            )
        places.append((channel, placement))
        content = {}
        if "content" in fields:
            content = {name: inner.text() or "" for name, inner in fields["content"].entries().items()}
        treatments.append(Treatment(id_, channel, MappingProxyType(content), placement))
    return tuple(treatments)
