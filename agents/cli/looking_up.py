"""One customer at one position of the journal, by a fold of the customer's partition: `customer show` and `as-of`."""

from typing import TYPE_CHECKING, Any

from agents.cli.bar import Told
from agents.errors import AttuneError, UsageError
from agents.settings import Settings

if TYPE_CHECKING:
    from agents.history.as_of import Found, Place


async def look_up(
    settings: Settings, customer: str, place: "Place", told: Told | None, *, partition: int | None = None
) -> "tuple[Found, dict[str, Any]]":
    """Return what the fold found and the customer's profile there.

    A split of the journal moves customers: an offset needs the `partition` that it is of where there is a choice, and
    a time finds its own, since the new partition is still being filled at a time before the split.

    Raises AttuneError for a customer that the journal does not know up to there, and where it cannot be folded;
    UsageError for an offset or a partition that is none of the customer's.
    """
    from aiokafka import TopicPartition

    from agents import documents as published
    from agents import topology
    from agents.cli import folding
    from agents.cli.partitions import partitions
    from agents.history.as_of import fold_to
    from agents.journal.documents import Documents
    from agents.profile import profile
    from schemas import identity, topics
    from streams.documents import Documents as Read

    await partitions(settings, topics.JOURNAL, topics.POLICIES, topics.MODELS)
    documents = Documents()
    job = topology.fold_job(documents)
    counts = (await published.journal_placement(settings)).counts
    homes = _homes(customer, [identity.journal_partition(customer, count) for count in reversed(counts)], partition)
    if place.offset is not None and len(homes) > 1:
        raise UsageError(
            f"--offset {place.offset}: the customer is in partition {homes[0]} since the journal was split, and was in "
            f"{' and '.join(str(home) for home in homes[1:])} before",
            "say with --partition which one's offset it is",
        )
    async with folding.reader(settings) as consumer:
        for number in homes:
            found = await fold_to(
                consumer,
                TopicPartition(job.source, number),
                customer,
                place,
                job.step,
                lambda step: folding.folding(job, step),
                prepare=lambda: folding.read_documents(settings, documents),
                progress=told,
            )
            if place.appended_ms is None or (found.end and not found.partition.copying):
                break
    if found.state is None:
        raise AttuneError(*_unknown(found, place))
    return found, profile(customer, found.state, found.partition, Read(documents))


def _homes(customer: str, homes: list[int], wanted: int | None) -> list[int]:
    """Return the customer's partitions, the present one first, or the wanted one alone."""
    homes = list(dict.fromkeys(homes))
    if wanted is None:
        return homes
    if wanted not in homes:
        known = " or ".join(str(home) for home in homes)
        raise UsageError(f"--partition {wanted}: {customer} was never there", f"the customer's partition is {known}")
    return [wanted]


def _unknown(found: "Found", place: "Place") -> tuple[str, str]:
    """Return what to say of a customer that is not there, and what to do."""
    remedy = (
        "see that the key is written as the channels write it, that privacy.secret is the workers' "
        "(`attune settings`), and that the router is not behind (`attune lag`)"
    )
    words = f"the journal knows no customer {found.customer}"
    if place == type(place)():
        return words, remedy
    number = found.tp.partition
    words += f" up to offset {found.end - 1:,} of" if found.end else " before the first record of"
    return (
        f"{words} partition {number}",
        f"if `attune customer show` knows the customer, the first event came later; else {remedy}",
    )
