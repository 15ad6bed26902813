"""The parts of a pack that limit contacts: zones, limits, quiet_hours, cool_off. Faults go to the nodes."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar

from schemas.contact_policy import (
    LONGEST_WINDOW_DAYS,
    MOST_CONTACTS,
    ContactLimit,
    ContactPolicy,
    CoolOff,
    QuietHours,
)
from schemas.policy_words import ID, ID_SAYS, chosen_once, flag, identifier, listed_once
from schemas.vocabulary import ActionClass, Calendar, Channel, CoolOffScope, Outcome, Weekday
from schemas.yaml_nodes import Choice, Fields, Node
from schemas.zones import ZONES

FIELDS: Final = ("zones", "limits", "quiet_hours", "cool_off")

MOST_RULES: Final = 50

_LIMIT: Final = (
    "id",
    "at_most",
    "window",
    "calendar",
    "classes",
    "channels",
    "issues",
    "groups",
    "actions",
    "impressions",
)
_QUIET: Final = ("id", "from", "to", "days", "classes", "channels")
_COOL_OFF: Final = ("id", "after", "scope", "for", "response_within", "classes")

_LIMITED: Final = (ActionClass.SERVICE, ActionClass.MARKETING)
"""Mandatory and transactional messages pass limits and cool-off."""
_QUIET_CLASSES: Final = (ActionClass.TRANSACTIONAL, *_LIMITED)
_RESTS_AFTER: Final = (Outcome.REJECT, Outcome.NO_RESPONSE)
_ONE_OR_NONE: Final = "name at least one, or leave the field out"
_LONGEST: Final = f"{LONGEST_WINDOW_DAYS}d"

Rule = TypeVar("Rule")


def read_contact_policy(fields: Fields) -> ContactPolicy:
    """Read what stands in these fields of a pack; whatever refers to actions and groups is checked by `check_names`."""
    zones = _zones(fields.get("zones"))
    limits = _rules(fields.get("limits"), _limit)
    quiet = _rules(fields.get("quiet_hours"), _quiet)
    local = "quiet_hours" if quiet else "limits" if any(limit.calendar for limit in limits) else ""
    if local and not zones and "zones" not in fields:
        fields[local].fault_at_key(
            "local times need to know where customers live whose zone is not known",
            "add zones, e.g. zones: [Europe/Berlin]; the strictest of them then counts",
        )
    return ContactPolicy(
        zones=zones, limits=limits, quiet_hours=quiet, cool_off=_rules(fields.get("cool_off"), _cool_off)
    )


def check_names(fields: Fields, known: Mapping[str, frozenset[str]]) -> None:
    """Find limits that name an action, a group or an issue that the pack does not have."""
    node = fields.get("limits")
    if node is None or node.kind != "seq":
        return
    for item in node.items():
        if item.kind != "map":
            continue
        for name, names in known.items():
            listed = item.entries().get(name)
            for word in listed.items() if listed is not None and listed.kind == "seq" else ():
                text = word.text() if word.kind == "str" else None
                if text is not None and text not in names:
                    close = get_close_matches(text, names, n=1)
                    word.fault(
                        f"no action of this pack has {name} {text!r}" if name != "actions" else f"no action {text!r}",
                        f"did you mean {close[0]}?" if close else "a limit on nothing limits nothing; leave it out",
                    )


def _rules(node: Node | None, read: Callable[[Node, list[str]], Rule]) -> tuple[Rule, ...]:
    if node is None:
        return ()
    items = node.items()
    if len(items) > MOST_RULES:
        node.fault(f"{len(items)} rules", f"write at most {MOST_RULES}")
        return ()
    ids: list[str] = []
    return tuple(read(item, ids) for item in items)


def _limit(node: Node, ids: list[str]) -> ContactLimit:
    fields = node.mapping(_LIMIT, ("id", "at_most"))
    window, calendar = fields.get("window"), fields.get("calendar")
    if (window is None) == (calendar is None) and "id" in fields:
        node.fault(
            "a limit has either a window or a calendar",
            "write window: 7d for any seven days, or calendar: week for the customer's week",
        )
    impressions = fields.get("impressions")
    return ContactLimit(
        id=identifier(fields, ids, "limit"),
        at_most=(fields["at_most"].whole(0, MOST_CONTACTS) or 0) if "at_most" in fields else 0,
        window_ms=(window.duration_ms("1m", _LONGEST) or 0) if window else 0,
        calendar=calendar.choice(Calendar) if calendar else None,
        classes=_words(fields.get("classes"), _LIMITED, "limits are for these classes") or (ActionClass.MARKETING,),
        channels=_words(fields.get("channels"), tuple(Channel)),
        issues=_ids(fields.get("issues")),
        groups=_ids(fields.get("groups")),
        actions=_ids(fields.get("actions")),
        impressions=flag(impressions),
    )


def _quiet(node: Node, ids: list[str]) -> QuietHours:
    fields = node.mapping(_QUIET, ("id", "from", "to"))
    start, until = _minutes(fields.get("from")), _minutes(fields.get("to"))
    if start == until and start is not None and "days" not in fields:
        fields["to"].fault("every hour of every day would be quiet", "name days, or another time")
    return QuietHours(
        id=identifier(fields, ids, "rule of quiet hours"),
        start=start or 0,
        until=until or 0,
        days=_words(fields.get("days"), tuple(Weekday)),
        classes=_words(fields.get("classes"), _QUIET_CLASSES, "quiet hours are for these classes") or _LIMITED,
        channels=_words(fields.get("channels"), tuple(Channel)),
    )


def _cool_off(node: Node, ids: list[str]) -> CoolOff:
    fields = node.mapping(_COOL_OFF, ("id", "after", "scope", "for"))
    after = _words(fields.get("after"), _RESTS_AFTER)
    within = fields.get("response_within")
    if Outcome.NO_RESPONSE in after and within is None:
        node.fault("after no_response needs response_within", "say how long a response may take, e.g. 14d")
    if within is not None and after and Outcome.NO_RESPONSE not in after:
        within.fault_at_key("response_within is for no_response only", "leave it out, or add no_response to after")
    rest = fields.get("for")
    scope = fields["scope"].choice(CoolOffScope) if "scope" in fields else None
    return CoolOff(
        id=identifier(fields, ids, "cool-off"),
        after=after,
        scope=scope or CoolOffScope.ACTION,
        rest_ms=(rest.duration_ms("1m", _LONGEST) or 0) if rest else 0,
        response_within_ms=(within.duration_ms("1m", _LONGEST) or 0) if within else 0,
        classes=_words(fields.get("classes"), _LIMITED, "cool-off is for these classes") or (ActionClass.MARKETING,),
    )


def _minutes(node: Node | None) -> int | None:
    text = None if node is None else node.text(r"([01][0-9]|2[0-3]):[0-5][0-9]", 'a time of day such as "21:00"')
    return None if text is None else int(text[:2]) * 60 + int(text[3:])


def _zones(node: Node | None) -> tuple[str, ...]:
    found: list[str] = []
    for item in listed_once(node, "name at least one zone"):
        text = item.text()
        if text is None:
            continue
        if text not in ZONES:
            close = get_close_matches(text, ZONES, n=1)
            item.fault(
                f"{text[:60]!r} is no time zone",
                f"did you mean {close[0]}?" if close else "write an IANA name such as Europe/Berlin",
            )
        found.append(text)
    return tuple(sorted(set(found)))


def _words(node: Node | None, allowed: Iterable[Choice], why: str = _ONE_OR_NONE) -> tuple[Choice, ...]:
    return chosen_once(node, allowed, why)


def _ids(node: Node | None) -> tuple[str, ...]:
    found = [item.text(ID, ID_SAYS) for item in listed_once(node, _ONE_OR_NONE)]
    return tuple(word for word in found if word is not None)
