"""`attune as-of` on a real broker: one customer at any position, why, and a hash that reproduces."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from agents import topology
from agents.cli import folding
from agents.history.as_of import Place, fold_to
from agents.journal.documents import Documents
from agents.settings import Settings, variable
from schemas import headers as names
from schemas import identity, topics
from tests.agents.cli.conftest import Attune
from tests.agents.cli.test_customer import Story, without_offsets

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[3]


@pytest.fixture
def story(connected: Settings) -> Story:
    """A customer who was proposed something, then disputed a bill, which recalled it."""
    story = Story(connected)
    story.journal.tick(story.now_ms)
    story.activate()
    story.interact("consent.given", 50, attributes={"purpose": "marketing"})
    for days_ago in (45, 40, 30, 20):
        story.interact("purchase.made", days_ago, amount_minor=5_000, currency="EUR", channel="OUTLET")
    story.interact("purchase.made", 0.6, amount_minor=12_000, currency="EUR", channel="OUTLET", reference="r-4")
    story.interact("bill.disputed", 0.5, reference="bill-7", channel="TELEPHONY")
    return story


def show(attune: Attune, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = attune("as-of", *arguments, "--json")
    assert done.code == code, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_at_the_end_it_is_what_customer_show_says(story: Story, attune: Attune) -> None:
    """The state is that of `customer show`; the newest decision, its actions and reasons are those of the core."""
    offsets = story.append()
    found = show(attune, story.identifier)
    state = json.loads(attune("customer", "show", story.identifier, "--json").out)
    state.pop("journal")
    assert found["state"] == state
    assert found["journal"]["position"] >= offsets[-1]
    newest = [output for output in story.journal.outputs if output.topic == topics.NEXT_BEST_ACTIONS]
    decided = [output.body for output in newest if output.body["kind"] != "RECALLED"][-1]
    decision = found["decision"]
    assert decision["journal"]["offset"] == offsets[-1]
    for name in ("kind", "reason", "candidates", "churn_risk", "value_at_risk_minor", "policy", "model"):
        assert decision[name] == decided[name]
    assert decision["trigger"]["event"] == decided["trigger"]["event_id"]
    assert decision["candidates"]
    assert len(decision["policy"]["sha256"]) == 64


def test_an_earlier_position_is_the_fold_of_what_stood_there(story: Story, attune: Attune) -> None:
    """State and explanation before the dispute: the proposal in flight, its factors, its trigger as evidence.

    Behind the dispute the same decision is shown to be recalled, and the suppression names its evidence.
    """
    offsets = story.append()
    before = show(attune, story.customer, "--offset", str(offsets[-2]))
    shorter = Story(story.settings)
    shorter.customer, shorter.journal.documents = story.customer, story.journal.documents
    shorter.journal.core = type(story.journal.core)(story.journal.documents)
    for record in story.journal.records[:-1]:
        shorter.journal.fold(record)
    assert without_offsets(before["state"]) == shorter.expected()
    assert before["journal"]["position"] == offsets[-2]
    assert not before["state"]["suppressions"]
    (action,) = before["decision"]["actions"]
    assert [item["action"] for item in before["state"]["in_flight"]] == [action["action"]]
    factors = action["factors"]
    product = factors["propensity"] * factors["context_weight"] * factors["value"] * factors["lever"]
    assert action["priority"] == pytest.approx(product)
    assert action["recalled"] is None
    (trigger,) = before["evidence"]
    assert (trigger["type"], trigger["offset"], trigger["fate"]) == ("purchase.made", offsets[-2], "folded")
    after = show(attune, story.customer)
    (suppression,) = after["suppressions_so_far"]
    assert suppression["reason"] == "OPEN_DISPUTE"
    assert suppression["lifted_at"] is None
    dispute = after["evidence"][-1]
    assert (dispute["type"], dispute["offset"], dispute["reference"]) == ("bill.disputed", offsets[-1], "bill-7")
    assert f"evidence of suppression {suppression['id']}" in dispute["is"]


def test_the_hash_reproduces(story: Story, attune: Attune) -> None:
    """The same in another process with another hash seed, for any batch, by time or offset, and after later records.

    It changes when anything of the customer's, or a control record, comes before the position.
    """
    offsets = story.append()
    at = str(offsets[-1])
    first = show(attune, story.identifier, "--offset", at)["input"]
    assert len(first["sha256"]) == 64
    assert first["records"] == len(story.journal.records) - 3
    for seed in ("0", "4711"):
        command = [sys.executable, "-m", "agents.cli.main", "as-of", story.customer, "--offset", at, "--json"]
        other = subprocess.run(
            command, cwd=ROOT, env=environment(story.settings, seed), capture_output=True, text=True, check=True
        )
        assert json.loads(other.stdout)["input"] == first
    for batch in (1, 3, 1_000):
        assert asyncio.run(digest(story, offsets[-1], batch)) == first["sha256"]
    story.journal.records.clear()
    story.interact("visit.made", 0.1, event_id="later")
    later = story.append()
    assert show(attune, story.identifier, "--offset", at)["input"] == first
    assert show(attune, story.identifier, "--offset", str(later[-1]))["input"]["sha256"] != first["sha256"]
    assert show(attune, story.identifier, "--offset", str(offsets[-2]))["input"]["sha256"] != first["sha256"]


def test_other_customers_change_nothing(story: Story, attune: Attune) -> None:
    """A record of another customer of the same partition moves the position, not the hash."""
    story.append()
    first = show(attune, story.customer)
    other = Story(story.settings)
    while other.partition != story.partition:
        other = Story(story.settings)
    other.interact("visit.made", 1)
    other.append()
    second = show(attune, story.customer)
    assert second["journal"]["position"] > first["journal"]["position"]
    assert second["input"] == first["input"]


def test_copies_and_refused_records_are_told_apart(story: Story, attune: Attune) -> None:
    """A copy by the router and a record that the fold refuses are in the hash, with what became of them."""
    last = story.journal.records[-1]
    copy = {"key": last.key, "value": last.value, "headers": last.headers}
    bad = {"key": last.key, "value": b"\0\0", "headers": [(names.KIND, b"interaction")]}
    offsets = story.append(copy, bad)
    hashes = [show(attune, story.customer, "--offset", str(offset))["input"]["sha256"] for offset in (*offsets[-3:],)]
    assert len(set(hashes)) == 3
    found = asyncio.run(look(story, offsets[-1], 1_000))
    assert [seen.fate for seen in found.seen][-3:] == ["folded", "copied", "refused"]
    assert [seen.offset for seen in found.seen][-3:] == offsets[-3:]


def test_verify_tells_by_its_exit_code(story: Story, attune: Attune) -> None:
    """0 for the hash that was printed, with or without its name; 1 for another one, in words and in JSON."""
    offsets = story.append()
    at = ("--offset", str(offsets[-1]))
    digest = show(attune, story.customer, *at)["input"]["sha256"]
    good = attune("as-of", story.customer, *at, "--verify", f"sha256:{digest}")
    assert good.code == 0
    assert good.out.rstrip().endswith("verified")
    wrong = attune("as-of", story.customer, *at, "--verify", "0" * 64)
    assert wrong.code == 1
    assert "not verified" in wrong.out
    assert show(attune, story.customer, *at, "--verify", "0" * 64, code=1)["verified"] is False
    assert attune("as-of", story.customer, "--verify", "abc").code == 2


def test_times_are_of_the_append_or_of_the_clock(connected: Settings, attune: Attune) -> None:
    """--at counts what was appended until then; --by event stops before the clock of the partition passes it."""
    story = Story(connected)
    story.journal.tick(story.now_ms)
    story.interact("visit.made", 3.5, event_id="first")
    offsets = story.append()
    time.sleep(0.05)
    middle_ms = int(time.time() * 1000)
    time.sleep(0.05)
    end_ms = int(time.time() * 1000)
    story.journal.records.clear()
    story.journal.tick(end_ms)
    story.interact("visit.made", 0.1, event_id="second")
    later = story.append()
    assert show(attune, story.customer, "--at", names.rfc3339(middle_ms))["journal"]["position"] == offsets[-1]
    assert show(attune, story.customer, "--at", "now")["journal"]["position"] >= later[-1]
    found = show(attune, story.customer, "--at", names.rfc3339(end_ms - 1), "--by", "event")
    assert found["journal"]["position"] == offsets[-1]
    assert found["state"]["counts"]["events"] == 1
    exact = show(attune, story.customer, "--at", names.rfc3339(end_ms), "--by", "event")
    assert exact["state"]["counts"]["events"] == 2


def test_it_reads_as_text(story: Story, attune: Attune) -> None:
    """State, decision, reasons, evidence, and the hash with how to get it again."""
    offsets = story.append()
    done = attune("as-of", story.identifier, "--offset", str(offsets[-1]))
    assert done.code == 0, done.err
    for words in (
        story.customer,
        "newest decision",
        "candidate ",
        "policy test 1, sha256",
        "suppressions so far",
        "in force, until every dispute",
        "events that these rest on",
        "about bill-7",
        f"--offset {offsets[-1]}",
    ):
        assert words in done.out, words
    assert story.identifier not in done.out + done.err


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("--offset", "1", "--at", "now"), 2, "use one of them"),
    (("--offset", "99999999"), 2, "has no offset 99,999,999"),
    (("--at", "2100-01-01T00:00:00Z"), 2, "lies ahead"),
    (("--at", "yesterday"), 2, "is no time"),
    (("--offset", "0"), 1, "knows no customer"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_cannot_be_looked_up_is_told(
    connected: Settings, attune: Attune, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Exit 2 for wrong use, 1 for a customer that is not there, each with what to do."""
    story = Story(connected)
    story.interact("visit.made", 1)
    story.append()
    stranger = Story(connected)
    while stranger.partition != story.partition:
        stranger = Story(connected)
    done = attune("as-of", stranger.customer if code == 1 else story.customer, *arguments)
    assert done.code == code
    assert words in done.err
    assert "next: " in done.err


def environment(settings: Settings, seed: str) -> dict[str, str]:
    """Return the variables of a process of its own."""
    import os

    assert settings.privacy.secret is not None
    return {
        **os.environ,
        "PYTHONHASHSEED": seed,
        variable("kafka.bootstrap"): settings.kafka.bootstrap or "",
        variable("home"): str(settings.home),
        variable("privacy.secret"): settings.privacy.secret.get_secret_value(),
    }


async def look(story: Story, offset: int, batch: int) -> Any:
    """Fold the story's partition up to an offset in batches of a size."""
    documents = Documents()
    await folding.read_documents(story.settings, documents)
    job = topology.fold_job(documents)

    async def ready() -> None:
        """The documents are here."""

    async with folding.reader(story.settings) as consumer:
        return await fold_to(
            consumer,
            TopicPartition(topics.JOURNAL, identity.journal_partition(story.customer, 6)),
            story.customer,
            Place(offset=offset),
            job.step,
            lambda step: folding.folding(job, step),
            prepare=ready,
            run_records=batch,
        )


async def digest(story: Story, offset: int, batch: int) -> str:
    found = await look(story, offset, batch)
    sha256: str = found.input.digest(found.active(), found.partition.logic)
    return sha256
