"""`attune customer show` on a real broker: the journal's word on one customer, at its present end."""

import asyncio
import hashlib
import json
import time
import uuid
from typing import Any

import pytest

from agents import documents
from agents.profile import profile
from agents.settings import Settings
from schemas import headers as names
from schemas import identity, topics
from schemas.catalogue import CATALOGUE
from streams.documents import Documents
from tests.agents.cli.conftest import Attune, send
from tests.streams.journal import MODEL, PACK, Journal

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000


class Story:
    """A journal in memory about one new customer, whose records are then appended to the real one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.identifier = f"loyalty:{uuid.uuid4().hex}"
        assert settings.privacy.secret is not None
        self.customer = identity.surrogate(settings.privacy.secret.get_secret_value().encode(), self.identifier)
        self.partition = identity.journal_partition(self.customer, CATALOGUE.topics[topics.JOURNAL].partitions)
        self.now_ms = int(time.time() * 1000)
        self.journal = Journal(policy=None, model=None, partition=self.partition)
        self._origin = time.time_ns()  # above that of every earlier test, or the fold would pass over it

    def interact(self, kind: str, days_ago: float, **fields: Any) -> None:
        self._origin += 1
        at = self.now_ms - int(days_ago * DAY_MS)
        self.journal.interact(kind, self.customer, self._origin, occurred_at=at, **fields)

    def activate(self) -> None:
        for kind, raw in (("MODEL", MODEL), ("POLICY", PACK)):
            self._origin += 1
            self.journal.activate(kind, raw, self._origin)
            asyncio.run(documents.publish(self.settings, kind.lower(), raw, approved_by="test"))

    def append(self, *more: dict[str, Any]) -> list[int]:
        """Append everything to the partition, `more` behind it; return the offsets."""
        records: list[dict[str, Any]] = [
            {"key": record.key, "value": record.value, "headers": record.headers} for record in self.journal.records
        ]
        place = {"topic": topics.JOURNAL, "partition": self.partition}
        return send(self.settings, [{**place, **record} for record in (*records, *more)])

    def expected(self) -> dict[str, Any]:
        """Return the profile by the journal in memory, without what tells offsets."""
        found = profile(
            self.customer,
            self.journal.customer(self.customer),
            self.journal.state(),
            Documents(self.journal.documents),
        )
        return without_offsets(found)


def without_offsets(found: dict[str, Any]) -> dict[str, Any]:
    """Take out what names positions of the journal: ids of decisions and suppressions are made of them."""
    plain = {name: value for name, value in found.items() if name not in ("journal", "journal_offset")}
    plain["in_flight"] = [{**item, "decision": ""} for item in found["in_flight"]]
    plain["suppressions"] = [{**item, "id": ""} for item in found["suppressions"]]
    return plain


@pytest.fixture
def story(connected: Settings) -> Story:
    """A customer with purchases, consent, an open dispute, and actions proposed under the shipped policy."""
    story = Story(connected)
    story.journal.tick(story.now_ms)
    story.activate()
    story.interact("consent.given", 50, attributes={"purpose": "marketing"})
    for days_ago in (40, 30, 20):
        story.interact("purchase.made", days_ago, amount_minor=5_000, currency="EUR", channel="OUTLET")
    story.interact("complaint.made", 2, channel="TELEPHONY")
    story.interact("purchase.made", 1, amount_minor=2_000, currency="EUR", channel="OUTLET", reference="r-4")
    story.interact("bill.disputed", 0.5, reference="bill-7", channel="TELEPHONY")
    return story


def test_all_that_is_known_is_shown(story: Story, attune: Attune) -> None:
    """The JSON is what the core folds from the same records: counts, money, risk, disputes, suppression, actions."""
    offsets = story.append()
    done = attune("customer", "show", story.identifier, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert without_offsets(found) == story.expected()
    assert (found["customer"], found["journal_offset"]) == (story.customer, offsets[-1])
    assert (found["purchases"]["frequency"], found["purchases"]["spend_minor"]) == (4, 17_000)
    assert 0 < found["risk"]["churn"] < 1
    assert found["risk"]["model"]["sha256"] == hashlib.sha256(MODEL).hexdigest()
    assert found["open_disputes"] == ["bill-7"]
    (hold,) = found["suppressions"]
    assert hold["scope"] == "MARKETING"
    assert len(hold["evidence"]) == 1
    assert [item["type"] for item in found["recent_contacts"][:2]] == ["bill.disputed", "purchase.made"]
    assert found["last_proposals"]
    assert found["journal"]["position"] >= offsets[-1]


def test_it_reads_as_text(story: Story, attune: Attune) -> None:
    """A person sees the same, by identifier, by surrogate, and by the key of one who knows only the surrogate."""
    story.append()
    shown = attune("customer", "show", story.identifier)
    assert shown.code == 0, shown.err
    for words in (
        story.customer,
        "4 purchases",
        "170.00 EUR",
        "churn risk",
        "bill-7",
        "suppressions in force",
        "purpose",
    ):
        assert words in shown.out
    assert story.identifier not in shown.out + shown.err
    assert attune("customer", "show", story.customer).out == shown.out
    assert attune("customer", "show", f"attune:{story.customer}").out == shown.out


def test_what_the_fold_would_not_fold_changes_nothing(story: Story, attune: Attune) -> None:
    """A record that raises is passed over and counted; a copy of an origin that was seen does not count twice."""
    last = story.journal.records[-1]
    copy = {"key": last.key, "value": last.value, "headers": last.headers}
    bad = {"key": last.key, "value": b"\0\0", "headers": [(names.KIND, b"interaction")]}
    story.append(copy, bad)
    found = json.loads(attune("customer", "show", story.customer, "--json").out)
    assert found["journal"]["dead_letters"] >= 1
    assert without_offsets(found) == story.expected()


def test_an_unknown_customer(connected: Settings, attune: Attune) -> None:
    """Exit 1, the surrogate and what may be the reason; the identifier is not repeated."""
    done = attune("customer", "show", "email:nobody@example.invalid")
    assert done.code == 1
    assert "knows no customer" in done.err
    assert "privacy.secret" in done.err
    assert "nobody" not in done.out + done.err


def test_a_key_that_names_nobody_is_wrong_use(connected: Settings, attune: Attune) -> None:
    """Exit 2, with the form that a key has; it is not quoted."""
    for key in ("4711", "attune:4711", ""):
        done = attune("customer", "show", key)
        assert done.code == 2
        assert "write `namespace:value`" in done.err
        assert "4711" not in done.err.replace("loyalty:4711", "")


def test_a_document_that_is_missing_is_told(connected: Settings, attune: Attune) -> None:
    """Where the fold waits for a document, there is no state to show: exit 1, naming it."""
    story = Story(connected)
    story.journal.activate("MODEL", MODEL.replace(b"retail-activity", b"retail-absent"), time.time_ns())
    story.interact("visit.made", 1)
    story.append()
    done = attune("customer", "show", story.customer)
    assert done.code == 1
    assert "is active but not here" in done.err
    # Published after all, so that other tests find a partition that can be folded.
    absent = MODEL.replace(b"retail-activity", b"retail-absent")
    asyncio.run(documents.publish(connected, "model", absent, approved_by="test"))
    assert attune("customer", "show", story.customer).code == 0
