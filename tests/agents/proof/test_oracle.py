"""The oracle on a real broker: it holds on sound topics, and names each thing that is spoilt."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from agents.engine import changelog
from agents.errors import AttuneError
from agents.proof.report import Kind
from schemas import headers as names
from schemas.codec import EMBEDDED
from tests.agents.proof.scenario import EVENT, MARKS, Scenario, build

pytestmark = pytest.mark.kafka


@pytest.fixture
async def scenario(kafka: Any, topic_factory: Callable[..., Awaitable[str]]) -> AsyncIterator[Scenario]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True)
    await producer.start()
    yield await build(kafka.bootstrap, topic_factory, producer)
    await producer.stop()


def customer_in(scenario: Scenario, partition: int) -> bytes:
    return next(row.key for row in scenario.journal if row.partition == partition and row.key is not None)


async def test_sound_topics_hold(scenario: Scenario) -> None:
    """Copies, dead letters of both kinds, ticks, watermarks and sealed data are all as they should be."""
    await scenario.fold()
    await scenario.commit()
    report = await scenario.judge()
    assert report.held, report.to_json()
    assert (report.interactions, report.routed, report.dead, report.copies) == (43, 42, 1, 1)
    assert report.refused == 2
    assert report.outputs == 18
    assert report.states == 10
    assert report.unfolded == 0
    assert report.to_json()["held"] is True


async def test_output_sent_again_is_no_difference(scenario: Scenario) -> None:
    """After a crash the same output stands there twice, with the same id and content."""
    await scenario.fold()
    before = dict(scenario.folded)
    scenario.folded.clear()
    scenario.states.clear()
    await scenario.fold()
    assert scenario.folded == before
    report = await scenario.judge()
    assert report.held, report.to_json()
    assert report.outputs == report.repeated_outputs == 18


async def test_what_lies_beyond_the_fence_is_not_missed(scenario: Scenario) -> None:
    """Outputs of records that the changelog does not cover yet may be missing; those that are there are judged."""
    await scenario.fold()
    held = dict(scenario.folded)
    for number in range(6):
        await scenario.route(await scenario.interact(number % 2, 50))
    report = await scenario.judge()
    assert report.held, report.to_json()
    assert report.unfolded == 6
    states = scenario.states
    await scenario.fold(spoil=0)
    scenario.folded, scenario.states = held, states
    report = await scenario.judge()
    assert report.counts == {Kind.OTHER_OUTPUT: 1}


async def test_interaction_missing_from_the_journal(scenario: Scenario) -> None:
    """An interaction that nobody routed is named by its place."""
    row = await scenario.interact(1, 7)
    await scenario.fold()
    report = await scenario.judge()
    assert report.counts == {Kind.NOT_ROUTED: 1}
    assert dict(row.headers)[names.ORIGIN].decode() == str(report.differences[0].place)


async def test_journal_record_without_an_original(scenario: Scenario) -> None:
    """An origin that the interactions do not have is named."""
    row = await scenario.interact(1, 7)
    await scenario.route(row)
    headers = [(name, value + b"99" if name == names.ORIGIN else value) for name, value in row.headers]
    row.headers = headers
    await scenario.route(row)
    await scenario.fold()
    report = await scenario.judge()
    assert report.counts == {Kind.UNKNOWN_ORIGIN: 1}
    assert "does not exist" in report.differences[0].words


async def test_journal_record_with_other_content(scenario: Scenario) -> None:
    """A copy with other bytes, another customer or in the clear is named."""
    for change in ("value", "customer", "clear"):
        personal = {"identifiers": {}, "fields": {"name": "Ann"}} if change == "clear" else None
        row = await scenario.interact(1, 7, personal=personal)
        if change == "customer":
            row.key = customer_in(scenario, row.partition).replace(b"a", b"b")
            row.partition = int(row.key[:8], 16) % 2
        elif change == "value":
            row.value = (await scenario.interact(1, 8)).value
        else:
            row.value = row.value.replace(b"c" * 30, b"d" * 30)  # the sealed block itself is nobody's to compare
        await scenario.route(row)
    report = await scenario.judge()
    assert report.counts[Kind.OTHER_CONTENT] == 2
    clear = await scenario.interact(1, 7, personal={"identifiers": {}, "fields": {"name": "Ann"}})
    block = {"identifiers": {}, "fields": {"name": "Ann"}}
    clear.value = EMBEDDED.encode("Interaction", {**EVENT, "amount_minor": 7, "personal": block})
    await scenario.route(clear)
    report = await scenario.judge()
    assert report.counts[Kind.OTHER_CONTENT] == 3
    assert any("in the clear" in found.words for found in report.differences)


async def test_order_in_which_the_fold_would_pass_an_interaction_over(scenario: Scenario) -> None:
    """Two interactions of one origin partition that stand in the wrong order: the first counts nowhere."""
    rows = [await scenario.interact(1, 7), await scenario.interact(1, 8)]
    for row in reversed(rows):
        await scenario.route(row)
    await scenario.fold()
    report = await scenario.judge()
    assert report.counts == {Kind.PASSED_OVER: 1}


async def test_forged_output(scenario: Scenario) -> None:
    """An output that no fold gives is named, also at a position that the journal does not have."""
    await scenario.fold()
    await scenario.send(scenario.actions, 0, b"k", b"{}", [(names.POSITION, b"0/0/0")])
    await scenario.send(scenario.actions, 0, b"k", b"{}", [(names.POSITION, b"0/4000/0")])
    await scenario.send(scenario.actions, 0, b"k", b"{}", [])
    report = await scenario.judge()
    assert report.counts == {Kind.EXTRA_OUTPUT: 2, Kind.FOREIGN: 1}
    assert "output 0 of journal record 0/0, which no fold gives" in [found.words for found in report.differences]


async def test_output_with_another_content(scenario: Scenario) -> None:
    """An output whose content is not the fold's is named with what differs."""
    await scenario.fold(spoil=3)
    report = await scenario.judge()
    assert report.counts == {Kind.OTHER_OUTPUT: 1}
    assert "the fold gives" in report.differences[0].words


async def test_one_output_with_two_contents(scenario: Scenario) -> None:
    """An output that was sent again with another content is named."""
    await scenario.fold()
    scenario.folded.clear()
    scenario.states.clear()
    await scenario.fold(spoil=3)
    report = await scenario.judge()
    assert report.counts == {Kind.OTHER_OUTPUT: 1}
    assert "is also at" in report.differences[0].words


async def test_lost_output(scenario: Scenario) -> None:
    """An output that the fold gives and nobody sent is named by its journal record."""
    await scenario.fold(lose=4)
    report = await scenario.judge()
    assert report.counts == {Kind.LOST_OUTPUT: 1}
    assert "is not there" in report.differences[0].words


async def test_changed_state(scenario: Scenario) -> None:
    """A state of the newest fence that is not the fold's is named, field by field."""
    await scenario.fold()
    key = customer_in(scenario, 0)
    await scenario.changelog(0, {key: b'{"count": 5, "sum": 1}'}, scenario.folded[0])
    report = await scenario.judge()
    assert report.counts == {Kind.OTHER_STATE: 1}
    assert key.decode() in report.differences[0].words
    assert "sum is 1, the fold gives" in report.differences[0].words


async def test_state_in_other_bytes_of_the_same_meaning(scenario: Scenario) -> None:
    """Bytes that decode to the same state are no difference: an older release may have written them."""
    await scenario.fold()
    key = customer_in(scenario, 0)
    await scenario.changelog(0, {key: scenario.states[0][key].replace(b": ", b":  ")}, scenario.folded[0])
    assert (await scenario.judge()).held


async def test_lost_and_extra_state(scenario: Scenario) -> None:
    """A removed state and a state of nobody are named; a late append of an old fence is harmless."""
    await scenario.fold()
    key = customer_in(scenario, 0)
    await scenario.changelog(0, {key: b'{"count": 0, "sum": 0}'}, 1)
    assert (await scenario.judge()).held
    await scenario.changelog(0, {key: None, b"nobody": b"{}"}, scenario.folded[0])
    report = await scenario.judge()
    assert report.counts == {Kind.LOST_STATE: 1, Kind.EXTRA_STATE: 1}


async def test_foreign_record_and_false_fence_in_the_changelog(scenario: Scenario) -> None:
    """A record without a fence cannot be read, and a fence beyond the journal proves nothing."""
    await scenario.fold()
    await scenario.send(scenario.places.changelog, 0, MARKS, b"{}", [])
    report = await scenario.judge()
    assert report.counts == {Kind.UNREADABLE: 1}
    (told,) = report.differences
    assert "has no fence" in told.words
    (mark,) = changelog.batch([], 4_000, 2, b"o" * 16)
    await scenario.send(scenario.places.changelog, 1, *mark)
    report = await scenario.judge()
    assert report.counts[Kind.FENCE] == 1


async def test_what_a_rebuild_has_left_behind_is_not_blamed(scenario: Scenario) -> None:
    """A record that cannot be read stands before the word of a rebuild that the changelog is whole from there on."""
    await scenario.fold()
    await scenario.send(scenario.places.changelog, 0, MARKS, b"{}", [])
    (told,) = (await scenario.judge()).differences
    await scenario.changelog(0, dict([changelog.rebuilt_from(told.place.offset)]), scenario.folded[0])
    assert not (await scenario.judge()).held
    await scenario.changelog(0, dict([changelog.rebuilt_from(told.place.offset + 1)]), scenario.folded[0])
    assert (await scenario.judge()).held


async def test_commit_beyond_the_fence(scenario: Scenario) -> None:
    """A committed offset beyond what the changelog holds is named for each partition."""
    await scenario.fold()
    await scenario.commit(beyond=1)
    report = await scenario.judge()
    assert report.counts == {Kind.COMMIT: 2}
    assert "the changelog goes up to" in report.differences[0].words


async def test_dead_letter_without_an_original(scenario: Scenario) -> None:
    """A dead letter of an interaction that does not exist is named, and what it stands for is missing."""
    await scenario.dead_letter(at=777)
    await scenario.fold()
    report = await scenario.judge()
    assert report.counts == {Kind.UNKNOWN_DEAD_LETTER: 1, Kind.NOT_ROUTED: 1}


async def test_wait_gives_up_in_time(scenario: Scenario) -> None:
    """With a group that never catches up the verdict comes after the time allowed, on what is there."""
    await scenario.fold()
    report = await scenario.judge(wait_seconds=0.5)
    assert report.held
    assert report.seconds > 0.5


async def test_missing_topic(scenario: Scenario) -> None:
    """A topic that does not exist is said with what to do."""
    scenario.places = dataclasses.replace(scenario.places, journal="no-such-topic")
    with pytest.raises(AttuneError, match="no-such-topic does not exist"):
        await scenario.judge()
