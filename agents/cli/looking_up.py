"""One customer at one position of the journal, by a fold of the customer's partition: `customer show` and `as-of`."""

from typing import TYPE_CHECKING, Any

from agents.cli.bar import Told
from agents.errors import AttuneError
from agents.settings import Settings

if TYPE_CHECKING:
    from agents.history.as_of import Found, Place


async def look_up(
    settings: Settings, customer: str, place: "Place", told: Told | None
) -> "tuple[Found, dict[str, Any]]":
    """Return what the fold found and the customer's profile there.

    Raises AttuneError for a customer that the journal does not know up to there, and where it cannot be folded.
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
    number = identity.journal_partition(customer, await published.journal_partitions(settings))
    async with folding.reader(settings) as consumer:
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
    if found.state is None:
        where = "" if place == type(place)() else f" up to offset {found.end - 1:,} of partition {number}"
        raise AttuneError(
            f"the journal knows no customer {customer}{where}",
            "see that the key is written as the channels write it, that privacy.secret is the workers' "
            "(`attune settings`), and that the router is not behind (`attune lag`)",
        )
    return found, profile(customer, found.state, found.partition, Read(documents))
