"""What the readers of a pack's parts share: ids, lists, flags."""

from collections.abc import Iterable
from typing import Final

from schemas.yaml_nodes import Choice, Fields, Node

ID: Final = r"(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*"
ID_SAYS: Final = "an id of small letters, digits and single hyphens, at most 64"


def identifier(fields: Fields, ids: list[str], noun: str, pattern: str = ID, says: str = ID_SAYS) -> str:
    """Return the field `id`, add it to `ids`; one that is there already is a fault. Empty where there is none."""
    node = fields.get("id")
    id_ = None if node is None else node.text(pattern, says)
    if node is None or id_ is None:
        return ""
    if id_ in ids:
        node.fault(f"a second {noun} has the id {id_!r}", "ids are quoted in every decision; give it one of its own")
    ids.append(id_)
    return id_


def listed_once(node: Node | None, remedy: str) -> list[Node]:
    """Return the elements of a list that must not be empty; none where the field is left out."""
    if node is None:
        return []
    items = node.items()
    if not items and node.kind == "seq":
        node.fault("the list is empty", remedy)
    return items


def chosen_once(node: Node | None, allowed: Iterable[Choice], remedy: str) -> tuple[Choice, ...]:
    """Return the words of a list, each one of `allowed`, in their order; one that is listed twice is a fault."""
    choices = tuple(allowed)
    found: list[Choice] = []
    for item in listed_once(node, remedy):
        word = item.choice(choices)
        if word in found:
            item.fault(f"{word} is listed twice", "leave one out")
        elif word is not None:
            found.append(word)
    return tuple(found)


def flag(node: Node | None) -> bool:
    """Return a truth; False where the field is left out."""
    return False if node is None else node.truth() or False
