"""Which documents were ever approved, and whether each can be read: what a fold from the beginning may ask for."""

from collections.abc import Mapping
from typing import Any

from agents.settings import Settings


async def approved(settings: Settings) -> list[dict[str, Any]]:
    """Return kind, name, version, SHA-256 and `there` of each approved document or logic, in the order of approval.

    An activation in the journal comes from an approval, so that these are all that a fold can need. One that is not
    there was passed over by the coordinator, or has been lost since: the fold says so when it comes to it.
    """
    from aiokafka import TopicPartition

    from agents.cli import folding
    from agents.cli.partitions import partitions
    from agents.history.reading import bounds, runs
    from agents.journal.documents import Documents
    from schemas import topics
    from schemas.codec import EMBEDDED
    from schemas.errors import ContractError

    counts = await partitions(settings, topics.APPROVALS)
    documents = Documents()
    await folding.read_documents(settings, documents)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    async with folding.reader(settings) as consumer:
        for number in range(counts[topics.APPROVALS]):
            tp = TopicPartition(topics.APPROVALS, number)
            async for _, records in runs(consumer, tp, *await bounds(consumer, tp), records=1_000):
                for record in records:
                    try:
                        body = EMBEDDED.decode(record.value, "Control")["body"]
                    except ContractError:
                        continue  # the coordinator passes over it, too
                    if "sha256" in body:
                        named = {name: body[name] for name in ("kind", "name", "version", "sha256")}
                        found[tuple(named.values())] = {**named, "there": _is_there(named, documents)}
    return list(found.values())


def _is_there(approved: Mapping[str, str], documents: Mapping[str, bytes]) -> bool:
    """Tell whether a fold can go on behind the activation: the document is here, or this release knows the logic."""
    from schemas.vocabulary import DocumentKind
    from streams import logic

    if approved["kind"] != DocumentKind.LOGIC.value:
        return approved["sha256"] in documents
    return approved["version"] in [str(number) for number in range(logic.FIRST, logic.NEWEST + 1)]
