"""Another model becomes active: everybody is scored by it, also who does nothing."""

import json

import pytest

from agents import documents
from schemas import topics
from schemas.codec import EMBEDDED
from tests.agents.views.scribe import Scribe
from tests.faults.harness import read_all
from tests.streams.journal import MODEL

pytestmark = pytest.mark.kafka


async def test_a_silent_customer_is_scored_by_the_new_model(scribe: Scribe) -> None:
    """State and topic have the new model and its risk; a rebuild by the log would give the same (the check agrees)."""
    customer = scribe.customer()
    scribe.buys(customer)
    await scribe.flush()
    document = json.loads(MODEL)
    other = json.dumps({**document, "version": f"{document['version']}-other", "intercept": 0.25}).encode()
    async with scribe.agent() as work:
        await scribe.applied(work)
        before = json.loads((await scribe.read(customer)).state or b"")["risk"]
        published = await documents.publish(scribe.settings, "model", other, approved_by="test")
        scribe.activate("MODEL", other, published.sequence)
        await scribe.flush()
        await scribe.applied(work)
        after = json.loads((await scribe.read(customer)).state or b"")["risk"]
        assert after["model"]["sha256"] == published.sha256 != before["model"]["sha256"]
        assert after["churn"] != before["churn"]
        assert await scribe.differences() == []
    assert scribe.settings.kafka.bootstrap is not None
    records = await read_all(scribe.settings.kafka.bootstrap, topics.CUSTOMER_STATE)
    mine = [EMBEDDED.decode(record.value) for record in records if record.key == customer.encode()]
    assert mine[-1]["scored_by"]["sha256"] == published.sha256
    assert mine[-1]["churn_risk"] == after["churn"]
