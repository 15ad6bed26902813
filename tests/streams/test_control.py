"""Ticks, watermarks, activations, origins: what the partition itself remembers."""

import pytest

from schemas import headers as names
from schemas.codec import encode, fingerprint_of
from schemas.vocabulary import JournalKind
from streams.clock import LATEST_MS
from streams.errors import BadEvent, DocumentMissing, NewerLogic
from tests.streams.journal import (
    ANN,
    DAY,
    MODEL,
    PACK,
    SOURCE,
    START,
    Journal,
    Record,
    interaction,
    kinds,
    pack,
    sha256,
)


def test_a_tick_moves_the_clock_forwards_only() -> None:
    """An older or equal tick does nothing."""
    journal = Journal()
    for time in (START, START + 5, START + 3):
        journal.tick(time)
    assert journal.state().clock_ms == START + 5


def test_watermarks_move_the_clock_when_all_have_reported() -> None:
    """The clock is the minimum over all origin partitions, and only once each has spoken."""
    journal = Journal()
    journal.watermark(0, START + 10, 3, 0)
    journal.watermark(1, START + 5, 3, 0)
    assert journal.state().clock_ms == 0
    journal.watermark(2, START + 7, 3, 0)
    assert journal.state().clock_ms == START + 5
    journal.watermark(1, START + 9, 3, 1)
    assert journal.state().clock_ms == START + 7
    journal.watermark(1, START + 1, 3, 2)
    assert journal.state().clock_ms == START + 7


def test_a_watermark_copied_twice_counts_once() -> None:
    """The origin's mark covers watermarks too."""
    journal = Journal()
    journal.watermark(0, START, 1, 7)
    journal.watermark(0, START + DAY, 1, 7)
    assert journal.state().clock_ms == START


@pytest.mark.parametrize("ahead", [3 * DAY, 400 * DAY])
def test_an_event_far_ahead_of_the_clock_is_refused(ahead: int) -> None:
    """Two days ahead is the most; the message says how far and what to do."""
    journal = Journal()
    journal.tick(START)
    journal.interact("call.made", occurred_at=START + 2 * DAY)
    with pytest.raises(BadEvent, match="days ahead of the partition's clock"):
        journal.interact("call.made", occurred_at=START + ahead)


def test_a_record_copied_twice_is_a_no_op() -> None:
    """An origin at or below its mark changes no byte and emits nothing."""
    journal = Journal()
    journal.interact("bill.disputed", reference="d1")
    journal.interact("dispute.resolved", reference="d1", occurred_at=START + 1)
    before = dict(journal.table.rest)
    assert journal.interact("bill.disputed", origin=0, reference="d1", occurred_at=START + 9) == []
    assert journal.interact("dispute.resolved", origin=1, reference="d1") == []
    assert journal.table.rest == before


def test_an_activation_needs_a_newer_sequence() -> None:
    """Retries and two coordinators are harmless."""
    journal = Journal(policy=None)
    journal.activate("POLICY", pack({"id": "a"}), sequence=4, version="4")
    journal.activate("POLICY", pack({"id": "b"}), sequence=3, version="3")
    journal.activate("POLICY", pack({"id": "c"}), sequence=4, version="4b")
    policy = journal.state().policy
    assert policy is not None
    assert (policy.version, policy.sequence) == ("4", 4)
    journal.activate("POLICY", pack({"id": "d"}), sequence=5, version="5")
    policy = journal.state().policy
    assert policy is not None
    assert policy.version == "5"


def test_a_missing_document_asks_for_patience() -> None:
    """The engine is to try again later; once the document is here, it goes on."""
    journal = Journal(policy=None)
    with pytest.raises(DocumentMissing, match="publish it again") as caught:
        journal.activate("POLICY", PACK, publish=False)
    assert caught.value.retry_later
    assert journal.table.rest == {} or journal.state().policy is None
    journal.documents[sha256(PACK)] = PACK
    assert journal.fold(journal.records[-1]) == []
    assert journal.state().policy is not None


def test_a_worker_that_lacks_an_active_document_waits() -> None:
    """A fresh process with the same state but without the document asks for patience on the next event."""
    journal = Journal()
    journal.documents.clear()
    fresh = type(journal.core)(journal.documents)
    journal.core = fresh
    with pytest.raises(DocumentMissing):
        journal.interact("purchase.made", amount_minor=100)


def test_a_document_that_this_release_cannot_read_stops_the_partition() -> None:
    """The coordinator could read it: to pass it over here would make two releases fold the same log differently."""
    journal = Journal()
    for kind, raw in (("POLICY", b"name: x\n"), ("MODEL", MODEL.replace(b"0.0", b"NaN").replace(b"-0.5", b"NaN"))):
        with pytest.raises(DocumentMissing, match="this release cannot read it") as caught:
            journal.activate(kind, raw, sequence=9)
        assert caught.value.retry_later
    policy, model = journal.state().policy, journal.state().model
    assert policy is not None
    assert model is not None
    assert (policy.sequence, model.sequence) == (0, 0)


def activate_logic(journal: Journal, version: str, sequence: int) -> None:
    """Append an activation of a version of logic."""
    fields = {"name": "logic", "version": version, "sha256": "", "sequence": sequence}
    body = {"kind": "LOGIC", **fields, "approved_by": "", "approved_at": 0}
    journal.append(JournalKind.ACTIVATION, encode("Control", {"body": body}))


def test_logic_is_activated_and_taken_back_at_positions_of_the_journal() -> None:
    """What is not newer does nothing; a version that is none is a bad event."""
    journal = Journal()
    journal.core.newest_logic = 3
    assert journal.state().logic == 1
    activate_logic(journal, "3", sequence=5)
    activate_logic(journal, "2", sequence=4)
    assert (journal.state().logic, journal.state().logic_sequence) == (3, 5)
    activate_logic(journal, "1", sequence=6)
    assert journal.state().logic == 1
    for version in ("0", "-1", "two", "9" * 50):
        with pytest.raises(BadEvent, match="is no version of logic"):
            activate_logic(journal, version, sequence=7)


def test_an_older_release_waits_where_a_newer_logic_is_active() -> None:
    """At the activation itself, and at any record of a partition that a newer release had folded before."""
    journal = Journal()
    with pytest.raises(NewerLogic, match="logic 2 and this release knows up to 1; start a newer release") as caught:
        activate_logic(journal, "2", sequence=1)
    assert caught.value.retry_later
    journal.core.newest_logic = 2
    activate_logic(journal, "2", sequence=1)
    journal.core.newest_logic = 1
    with pytest.raises(NewerLogic):
        journal.interact("visit.made")
    with pytest.raises(NewerLogic):
        journal.tick(START + DAY)


def _record(**changes: object) -> Record:
    value = encode("Interaction", interaction(event_id="x"))
    headers = [
        (names.KIND, b"interaction"),
        (names.SCHEMA, fingerprint_of("Interaction").encode()),
        (names.ORIGIN, b"crm.interactions.v1/0/0"),
    ]
    return Record("crm.journal.v1", 0, 0, 0, ANN.encode(), value, headers)._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"value": None}, "no value"),
        ({"value": b"\0\0\0\0\1\4"}, "near byte|breaks off|garbled|ends"),
        ({"key": None}, "no surrogate"),
        ({"key": b"short"}, "no surrogate"),
        ({"headers": []}, "attune-kind"),
        ({"headers": [(names.KIND, b"gossip")]}, "attune-kind"),
        ({"headers": [(names.KIND, b"interaction")]}, "attune-origin"),
        ({"headers": [(names.KIND, b"interaction"), (names.ORIGIN, b"a/b")]}, "attune-origin"),
        ({"headers": [(names.KIND, b"interaction"), (names.ORIGIN, b"a/0/0")]}, "fingerprint"),
        (
            {
                "headers": [
                    (names.KIND, b"interaction"),
                    (names.ORIGIN, b"a/0/0"),
                    (names.SCHEMA, b"0123456789abcdef"),
                ]
            },
            "fingerprint",
        ),
    ],
)
def test_a_broken_record_is_a_bad_event(changes: dict[str, object], says: str) -> None:
    """Whatever is wrong with a journal record, it is refused with a reason and no state is made."""
    journal = Journal(policy=None, model=None)
    with pytest.raises(BadEvent, match=says):
        journal.fold(_record(**changes))
    assert journal.table.rest == {}


def test_a_control_record_of_another_kind_than_its_header_is_refused() -> None:
    """A tick's header with a watermark's body is no tick."""
    journal = Journal(policy=None, model=None)
    body = encode(
        "Control",
        {
            "body": {
                "kind": "POLICY",
                "name": "x",
                "version": "1",
                "sha256": "",
                "sequence": 1,
                "approved_by": "",
                "approved_at": 0,
            }
        },
    )
    with pytest.raises(BadEvent, match="no time"):
        journal.append(JournalKind.TICK, body)


def test_without_a_policy_state_is_kept_and_suppressions_work() -> None:
    """No policy means no decision, except that a lift says there is no policy."""
    journal = Journal(policy=None, model=None)
    assert journal.interact("purchase.made", amount_minor=100) == []
    assert kinds(journal.interact("bill.disputed", reference="d1")) == ["STARTED"]
    outputs = journal.interact("dispute.resolved", reference="d1", occurred_at=START + 1)
    assert kinds(outputs) == ["LIFTED", "NO_ACTION"]
    assert outputs[1].body["reason"] == "NO_POLICY"


def test_an_event_is_judged_by_the_watermark_of_its_own_origin() -> None:
    """Origins of one backlog are copied at different speeds: one that is weeks ahead of the others is not absurd."""
    journal = Journal()
    journal.watermark(1, START, 2, 0)
    journal.watermark(0, START + 30 * DAY, 2, 0)
    assert journal.state().clock_ms == START
    journal.interact("call.made", origin=1, occurred_at=START + 32 * DAY)
    assert journal.customer().events == 1
    with pytest.raises(BadEvent, match="3 days ahead"):
        journal.interact("call.made", origin=2, occurred_at=START + 33 * DAY)


def test_a_watermark_never_goes_back() -> None:
    """An older watermark of the same origin leaves the newer one as it was."""
    journal = Journal()
    journal.watermark(0, START + DAY, 2, 0)
    journal.watermark(0, START, 2, 1)
    assert journal.state().watermarks == {SOURCE: START + DAY}


def test_an_absurd_time_moves_no_clock() -> None:
    """Nobody is believed to live after 2099: events, ticks and watermarks of later are refused, with what to do.

    There need not be a clock for that; and the last moment that is allowed is allowed everywhere.
    """
    journal = Journal()
    with pytest.raises(BadEvent, match="send milliseconds"):
        journal.interact("call.made", origin=0, occurred_at=2**62)
    with pytest.raises(BadEvent, match="occurred_at of 4102444800001 ms is after the year 2099"):
        journal.interact("call.made", origin=0, occurred_at=LATEST_MS + 1)
    with pytest.raises(BadEvent, match=r"a tick of .* correct the clock of the coordinator"):
        journal.tick(LATEST_MS + 1)
    with pytest.raises(BadEvent, match=r"a watermark of .* correct the clock of its producer"):
        journal.watermark(0, LATEST_MS + 1, 1, 0)
    assert (journal.state().clock_ms, journal.state().watermarks) == (0, {})
    journal.interact("call.made", origin=1, occurred_at=LATEST_MS)
    journal.watermark(0, LATEST_MS, 1, 2)
    journal.tick(LATEST_MS)
    assert journal.state().clock_ms == LATEST_MS
