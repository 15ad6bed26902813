"""What an approval must be before it becomes activations.

A fold waits for a document that is not there, in every partition, and an activation stays in the journal
for ever: so what cannot be activated is stopped here, where passing it over stops nothing else.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agents.journal.publish import TOPIC_OF_KIND, check
from schemas.errors import ContractError
from schemas.model import InvalidModel
from schemas.policy import InvalidPolicy
from streams import logic

LOGIC = "logic"

Find = Callable[[str], Awaitable[bytes | None]]
"""Finds a document by its SHA-256 in hex; None means that none was durable before the call."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotActivated(ContractError):
    """An approval that cannot become an activation; the message says why and what to do."""


async def examine(body: Mapping[str, Any], find: Find, *, newest_logic: int = logic.NEWEST) -> None:
    """Check an approval and its document; raises NotActivated.

    `newest_logic` is the newest version of logic that this release knows.
    """
    if "sha256" not in body:
        raise NotActivated(
            "it is a tick or a watermark; only `attune policy publish` and `attune model publish` approve"
        )
    kind, digest = body["kind"].lower(), body["sha256"]
    if kind == LOGIC:
        _examine_logic(body["version"], newest_logic)
        return
    if kind not in TOPIC_OF_KIND:
        raise NotActivated(
            f"its kind is {kind!r:.100}, not one of {', '.join(TOPIC_OF_KIND)}; approve it as one of them"
        )
    again = f"`attune {kind} publish FILE --by NAME`"
    if _SHA256.fullmatch(digest) is None:
        raise NotActivated(f"its sha256 is {digest!r:.100}, not 64 hex digits; publish the document with {again}")
    raw = await find(digest)
    if raw is None:
        raise NotActivated(f"no document has its sha256 {digest}; publish the document again with {again}")
    try:
        document = check(kind, raw)
    except Exception as error:  # a document is data: whatever it makes a reader raise, it cannot be read
        foreseen = isinstance(error, (InvalidPolicy, InvalidModel))
        said = "; ".join((str(error) if foreseen else f"{type(error).__name__}: {error}").splitlines())
        raise NotActivated(
            f"this release cannot read its document as a {kind}: {said:.1000}; correct it and publish it with {again}"
        ) from error
    if (document.name, document.version) != (body["name"], body["version"]):
        raise NotActivated(
            f"it names {body['name']!r:.100} version {body['version']!r:.100} and its document is {document.name} "
            f"version {document.version}; publish the document with {again}"
        )


def _examine_logic(version: str, newest: int) -> None:
    known = [str(number) for number in range(logic.FIRST, newest + 1)]
    if version not in known:
        raise NotActivated(
            f"it activates logic {version!r:.100} and this release knows {', '.join(known)}: folds that do not know it "
            "would wait for ever; upgrade the coordinator and every fold, then `attune logic activate` again"
        )
