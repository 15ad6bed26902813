"""How many partitions topics have, and a clear error where one is missing."""

from agents.errors import AttuneError
from agents.settings import Settings


async def partitions(settings: Settings, *topics: str) -> dict[str, int]:
    """Return the number of partitions of each topic; AttuneError for one that does not exist.

    Kafka is asked for all topics: to ask for one by its name could create it.
    """
    from agents.clients import kafka

    admin = kafka.admin(settings.kafka)
    try:
        await admin.start()
        known = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    for topic in topics:
        if topic not in known:
            raise AttuneError(
                f"topic {topic} does not exist", "create the topics with `attune topics apply`, then start the workers"
            )
    return {topic: known[topic] for topic in topics}
