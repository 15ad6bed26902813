"""YAML -> Policy. Every error is found in one reading, each with line and column."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from schemas.conditions import Condition, read_condition
from schemas.policy import VALUE_AT_RISK, Action, InvalidPolicy, Policy, PolicyFault, Treatment
from schemas.vocabulary import ActionClass, Channel, EventType
from schemas.yaml_nodes import Fields, Node, NodeFault, document

LARGEST_DOCUMENT: Final = 500_000
MOST_ACTIONS: Final = 500

_ID: Final = r"(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*"
_ID_SAYS: Final = "an id of small letters, digits and single hyphens, at most 64"

_PACK: Final = ("name", "version", "description", "triggers", "actions")
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
)
_TREATMENT: Final = ("id", "channel", "content")

LARGEST_WEIGHT: Final = 100.0
LARGEST_VALUE_MINOR: Final = 1_000_000_000
SHORTEST: Final = "1m"
LONGEST: Final = "365d"
DEFAULT_TRIGGER_AGE_MS: Final = 86_400_000

Value = TypeVar("Value")


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
    triggers, when = _pack_triggers(fields.get("triggers"))
    actions = _actions(fields, triggers)
    return Policy(
        name=_get(fields, "name", lambda node: node.text(_ID, _ID_SAYS), ""),
        version=_get(fields, "version", lambda node: node.whole(1, 1_000_000_000), 0),
        description=_get(fields, "description", Node.text, ""),
        triggers=triggers,
        when=when,
        actions=tuple(sorted(actions, key=lambda action: action.id)),
    )


def _get(fields: Fields, name: str, read: Callable[[Node], Value | None], default: Value) -> Value:
    node = fields.get(name)
    value = None if node is None else read(node)
    return default if value is None else value


def _pack_triggers(node: Node | None) -> tuple[tuple[EventType, ...], Mapping[EventType, Condition]]:
    found: list[EventType] = []
    when: dict[EventType, Condition] = {}
    for item in _listed(node):
        if item.kind != "map":
            _add_trigger(item, tuple(EventType), found)
            continue
        fields = item.mapping(("event", "when"), ("event", "when"))
        trigger = _add_trigger(fields["event"], tuple(EventType), found) if "event" in fields else None
        condition = _condition(fields.get("when"))
        if trigger is not None and condition is not None:
            when[trigger] = condition
    return tuple(found), MappingProxyType(when)


def _action_triggers(node: Node, allowed: tuple[EventType, ...]) -> tuple[EventType, ...]:
    found: list[EventType] = []
    for item in _listed(node):
        _add_trigger(item, allowed, found)
    return tuple(found)


def _listed(node: Node | None) -> list[Node]:
    if node is None:
        return []
    items = node.items()
    if not items and node.kind == "seq":
        node.fault("the list is empty", "name at least one event type on which to decide")
    return items


def _add_trigger(node: Node, allowed: tuple[EventType, ...], found: list[EventType]) -> EventType | None:
    trigger = node.choice(allowed)
    if trigger in found:
        node.fault(f"{trigger} is listed twice", "leave one out")
    elif trigger is not None:
        found.append(trigger)
    return trigger


def _actions(fields: Fields, triggers: tuple[EventType, ...]) -> list[Action]:
    node = fields.get("actions")
    if node is None:
        return []
    items = node.items()
    if node.kind == "seq" and not 1 <= len(items) <= MOST_ACTIONS:
        node.fault(f"the pack has {len(items)} actions", f"write 1 to {MOST_ACTIONS}")
        return []
    action_ids: list[str] = []
    treatment_ids: list[str] = []
    return [_action(item, triggers, action_ids, treatment_ids) for item in items]


def _action(node: Node, triggers: tuple[EventType, ...], ids: list[str], treatment_ids: list[str]) -> Action:
    fields = node.mapping((*_REQUIRED, *_OPTIONAL), _REQUIRED)
    id_ = _identifier(fields, ids, "action")
    own = fields.get("triggers")
    validity = _get(fields, "validity", lambda node: node.duration_ms(SHORTEST, LONGEST), 0)
    action_class = _get(fields, "class", lambda node: node.choice(ActionClass), ActionClass.MARKETING)
    repeat_after = _get(fields, "repeat_after", lambda node: node.duration_ms(SHORTEST, LONGEST), 0)
    if action_class is ActionClass.MANDATORY and "repeat_after" not in fields:
        node.fault("a mandatory action has no repeat_after", "it passes all limits, so give it a guard of its own")
    return Action(
        id=id_,
        title=_get(fields, "title", Node.text, id_),
        issue=_get(fields, "issue", lambda node: node.text(_ID, _ID_SAYS), ""),
        group=_get(fields, "group", lambda node: node.text(_ID, _ID_SAYS), ""),
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
        eligibility=_condition(fields.get("eligibility")),
        applicability=_condition(fields.get("applicability")),
        suitability=_condition(fields.get("suitability")),
        treatments=_treatments(fields.get("treatments"), treatment_ids),
    )


def _identifier(fields: Fields, ids: list[str], noun: str) -> str:
    node = fields.get("id")
    id_ = None if node is None else node.text(_ID, _ID_SAYS)
    if node is None or id_ is None:
        return ""
    if id_ in ids:
        node.fault(f"a second {noun} has the id {id_!r}", "ids are quoted in every decision; give it one of its own")
    ids.append(id_)
    return id_


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


def _condition(node: Node | None) -> Condition | None:
    text = None if node is None else node.text()
    if node is None or text is None:
        return None
    condition, faults = read_condition(text)
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
    channels: list[Channel] = []
    for item in items:
        fields = item.mapping(_TREATMENT, ("id", "channel"))
        id_ = _identifier(fields, ids, "treatment")
        channel_node = fields.get("channel")
        channel = None if channel_node is None else channel_node.choice(Channel)
        if channel_node is not None and channel in channels:
            channel_node.fault(f"a second treatment for {channel}", "an action has one treatment per channel")
        channel = channel or Channel.OTHER
        channels.append(channel)
        content = {}
        if "content" in fields:
            content = {name: inner.text() or "" for name, inner in fields["content"].entries().items()}
        treatments.append(Treatment(id_, channel, MappingProxyType(content)))
    return tuple(treatments)
