"""The encoding of states: round trips, versions, golden bytes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.customer import Case, Consent, Customer, Hold, Made, Proposal, Queued
from streams.errors import MalformedState, NewerState
from streams.partition import Active, Partition
from streams.state import STATE_CODEC, VERSION, StateCodec

texts = st.text(max_size=20)
places = st.integers(0, 2**62)
times = st.integers(0, 2**41)
customers = st.builds(
    Customer,
    offset=st.integers(-1, 2**62),
    purchases=st.integers(0, 2**40),
    spend_minor=st.integers(0, 2**62),
    activity_14=st.floats(0, 1e6),
    contacts=st.dictionaries(texts, st.integers(0, 2**40), max_size=4),
    recent=st.lists(st.binary(max_size=30), max_size=8),
    recent_ids=st.binary(max_size=256),
    cases=st.dictionaries(texts, st.builds(Case, times, st.integers(0, 2), st.booleans(), places), max_size=4),
    consents=st.dictionaries(texts, st.builds(Consent, times, st.booleans()), max_size=4),
    hold=st.none() | st.builds(Hold, texts, times, st.lists(texts, max_size=3).map(tuple)),
    queue=st.dictionaries(texts, st.builds(Queued, texts, texts, texts, texts, texts, texts, times, times), max_size=3),
    proposals=st.dictionaries(texts, st.builds(Proposal, times, texts, texts, times), max_size=3),
    zone=texts,
    types=st.dictionaries(texts, st.lists(times, min_size=5, max_size=8), max_size=3),
    made=st.dictionaries(
        texts,
        st.builds(
            Made,
            texts,
            texts,
            texts,
            texts,
            texts,
            times,
            st.booleans(),
            times,
            texts,
            times,
            times,
            st.lists(times),
            st.booleans(),
        ),
        max_size=3,
    ),
    held=st.lists(times, max_size=4),
)
actives = st.none() | st.builds(Active, texts, texts, texts, st.integers(0, 2**62))
partitions = st.builds(
    Partition,
    clock_ms=times,
    watermarks=st.dictionaries(texts, times, max_size=4),
    marks=st.dictionaries(texts, st.integers(0, 2**62), max_size=4),
    policy=actives,
    model=actives,
    undeclared=st.dictionaries(texts, st.integers(0, 2**40), max_size=4),
    split_to=st.integers(0, 2**20),
    place_base=st.integers(-(2**40), 2**40),
    swept=st.integers(0, 256),
    copying=st.booleans(),
)


@given(customers | partitions)
def test_a_state_survives_its_encoding(state: Any) -> None:
    """decode(encode(x)) equals x, and encodes to the same bytes again."""
    encoded = STATE_CODEC.encode(state)
    assert encoded[0] == VERSION
    assert STATE_CODEC.decode(encoded) == state
    assert STATE_CODEC.encode(STATE_CODEC.decode(encoded)) == encoded


def test_a_newer_state_is_refused_naming_both_versions() -> None:
    """A release never guesses at what a newer one wrote."""
    encoded = bytes([VERSION + 1]) + STATE_CODEC.encode(Customer())[1:]
    with pytest.raises(NewerState, match=rf"version {VERSION + 1}, this release reads up to {VERSION}"):
        STATE_CODEC.decode(encoded)


@pytest.mark.parametrize("encoded", [b"", b"\0abc", bytes([VERSION]), bytes([VERSION]) + b"\xc1", bytes([VERSION, 3])])
def test_bytes_that_are_no_state_are_refused(encoded: bytes) -> None:
    """Truncated or foreign bytes raise MalformedState with the remedy."""
    with pytest.raises(MalformedState, match=r"restore|no version"):
        STATE_CODEC.decode(encoded)


def test_an_older_state_goes_through_the_upcasters() -> None:
    """Each upcaster takes a plain list of one version to the next; versions without one are refused at once."""

    def rename(plain: list[Any]) -> list[Any]:
        return [*plain[:2], plain[2] + 1, *plain[3:]]

    classes = {VERSION + 2: (Customer, Partition)}
    newer = StateCodec(classes, dict.fromkeys(range(1, VERSION + 2), rename))
    state = newer.decode(STATE_CODEC.encode(Customer(first_seen_ms=5)))
    assert isinstance(state, Customer)
    assert state.first_seen_ms == 5 + VERSION + 1
    with pytest.raises(ValueError, match="no upcaster from state version 1"):
        StateCodec({VERSION + 1: (Customer, Partition)}, {})


def test_the_class_of_a_state_says_its_version() -> None:
    """A release that knows two versions writes each state as what it is, and reads both as what they are."""
    from tests.faults.next_release import NEXT_CODEC, NextCustomer

    old, new, own = Customer(events=2), NextCustomer(events=2, calls=1), Partition(logic=2)
    assert NEXT_CODEC.encode(old) == STATE_CODEC.encode(old)
    assert NEXT_CODEC.encode(own) == STATE_CODEC.encode(own)
    assert NEXT_CODEC.encode(new)[0] == VERSION + 1
    for state in (old, new, own):
        again = NEXT_CODEC.decode(NEXT_CODEC.encode(state))
        assert (type(again), again) == (type(state), state)
    with pytest.raises(NewerState):
        STATE_CODEC.decode(NEXT_CODEC.encode(new))


def test_a_field_added_at_the_end_needs_no_new_version() -> None:
    """A state without the last fields reads as if they had their defaults."""
    import msgspec

    plain = msgspec.msgpack.decode(STATE_CODEC.encode(Customer(purchases=3))[1:])
    shorter = bytes([VERSION]) + msgspec.msgpack.encode(plain[:-2])
    assert STATE_CODEC.decode(shorter) == Customer(purchases=3)


FIRST_CUSTOMER = (
    "01dc001ca8637573746f6d657207cf0000015a872a9800cf0000015a872c1ea0040102cd11f7a3555344cf0000015a872a98"
    "00cf0000015a872c1ea0cf0000015a872a9800cb3ff8000000000000cb3ffc00000000000082a64f55544c455403a54f5448"
    "45520191c40101c408313233343536373881a2643194cf0000015a872a980000c30381ab6d61726b6574696e672f2a92cf00"
    "00015a872a9800c393a76a2d302d312d30cf0000015a872a980091a2653181a76a2d302d322d3098a3746970a77365727669"
    "6365a474697073a87469702d6d61696ca54f54484552a753455256494345010281a37469709401a753455256494345a76a2d"
    "302d322d3000010506070809"
)
GOLDEN_CUSTOMER = (
    "01dc0024a8637573746f6d657207cf0000015a872a9800cf0000015a872c1ea0040102cd11f7a3555344cf0000015a872a98"
    "00cf0000015a872c1ea0cf0000015a872a9800cb3ff8000000000000cb3ffc00000000000082a64f55544c455403a54f5448"
    "45520191c40101c408313233343536373881a2643194cf0000015a872a980000c30381ab6d61726b6574696e672f2a92cf00"
    "00015a872a9800c393a76a2d302d312d30cf0000015a872a980091a2653181a76a2d302d322d3098a3746970a77365727669"
    "6365a474697073a87469702d6d61696ca54f54484552a753455256494345010281a37469709401a753455256494345a76a2d"
    "302d322d3000010506070809ad4575726f70652f4265726c696ecf0000015a872a980081ad70757263686173652e6d616465"
    "9502cf0000015a872c1ea0cd434a02cd11f781a76a2d302d312d309da3746970a773657276696365a474697073a54f544845"
    "52a75345525649434501c302a5434c49434b03049105c2019201020304"
)
CUSTOMER_BEFORE_SENT = (
    "01dc0024a8637573746f6d657207cf0000015a872a9800cf0000015a872c1ea0040102cd11f7a3555344cf0000015a872a98"
    "00cf0000015a872c1ea0cf0000015a872a9800cb3ff8000000000000cb3ffc00000000000082a64f55544c455403a54f5448"
    "45520191c40101c408313233343536373881a2643194cf0000015a872a980000c30381ab6d61726b6574696e672f2a92cf00"
    "00015a872a9800c393a76a2d302d312d30cf0000015a872a980091a2653181a76a2d302d322d3098a3746970a77365727669"
    "6365a474697073a87469702d6d61696ca54f54484552a753455256494345010281a37469709401a753455256494345a76a2d"
    "302d322d3000010506070809ad4575726f70652f4265726c696ecf0000015a872a980081ad70757263686173652e6d616465"
    "9502cf0000015a872c1ea0cd434a02cd11f781a76a2d302d312d309ca3746970a773657276696365a474697073a54f544845"
    "52a75345525649434501c302a5434c49434b03049105019201020304"
)
SECOND_PARTITION = (
    "0199a9706172746974696f6ecf0000015a872c1ea081b563726d2e696e746572616374696f6e732e76312f300181b563726d"
    "2e696e746572616374696f6e732e76312f302994ab72657461696c2d7468696ea131a2616203c081ad6672696467652e6f70"
    "656e6564020209"
)
GOLDEN_PARTITION = (
    "019da9706172746974696f6ecf0000015a872c1ea081b563726d2e696e746572616374696f6e732e76312f300181b563726d"
    "2e696e746572616374696f6e732e76312f302994ab72657461696c2d7468696ea131a2616203c081ad6672696467652e6f70"
    "656e65640202090c0503c3"
)
FIRST_PARTITION = (
    "0197a9706172746974696f6ecf0000015a872c1ea081b563726d2e696e746572616374696f6e732e76312f300181b563726d"
    "2e696e746572616374696f6e732e76312f302994ab72657461696c2d7468696ea131a2616203c081ad6672696467652e6f70"
    "656e656402"
)


def golden_states() -> tuple[Customer, Partition]:
    """Return a state of each kind with every field set."""
    customer = Customer(
        offset=7,
        first_seen_ms=1_488_326_400_000,
        last_seen_ms=1_488_326_500_000,
        events=4,
        duplicates=1,
        purchases=2,
        spend_minor=4599,
        currency="USD",
        first_purchase_ms=1_488_326_400_000,
        last_purchase_ms=1_488_326_500_000,
        previous_purchase_ms=1_488_326_400_000,
        activity_14=1.5,
        activity_56=1.75,
        contacts={"OUTLET": 3, "OTHER": 1},
        recent=[b"\x01"],
        recent_ids=b"12345678",
        cases={"d1": Case(1_488_326_400_000, 0, True, 3)},
        consents={"marketing/*": Consent(1_488_326_400_000, True)},
        hold=Hold("j-0-1-0", 1_488_326_400_000, ("e1",)),
        queue={"j-0-2-0": Queued("tip", "service", "tips", "tip-mail", "OTHER", "SERVICE", 1, 2)},
        proposals={"tip": Proposal(1, "SERVICE", "j-0-2-0", 0)},
        complaints=1,
        last_complaint_ms=5,
        messages_sent=6,
        offers_presented=7,
        offers_accepted=8,
        offers_rejected=9,
        zone="Europe/Berlin",
        zone_ms=1_488_326_400_000,
        types={"purchase.made": [2, 1_488_326_500_000, 17_226, 2, 4599]},
        made={"j-0-1-0": Made("tip", "service", "tips", "OTHER", "SERVICE", 1, True, 2, "CLICK", 3, 4, [5])},
        made_forgotten_ms=1,
        held=[1, 2],
        last_accept_ms=3,
        last_reject_ms=4,
    )
    partition = Partition(
        clock_ms=1_488_326_500_000,
        watermarks={"crm.interactions.v1/0": 1},
        marks={"crm.interactions.v1/0": 41},
        policy=Active("retail-thin", "1", "ab", 3),
        model=None,
        undeclared={"fridge.opened": 2},
        logic=2,
        logic_sequence=9,
        split_to=12,
        place_base=5,
        swept=3,
        copying=True,
    )
    return customer, partition


@pytest.mark.parametrize(
    ("state", "golden"), list(zip(golden_states(), (GOLDEN_CUSTOMER, GOLDEN_PARTITION), strict=True))
)
def test_golden_bytes(state: Any, golden: str) -> None:
    """Version 1 is written with these bytes and reads them; a change here means a new version."""
    assert STATE_CODEC.encode(state).hex() == golden
    assert STATE_CODEC.decode(bytes.fromhex(golden)) == state


def test_the_first_bytes_are_still_read() -> None:
    """States of earlier cores read as the same ones without what was not remembered then."""
    then, partition = golden_states()
    assert STATE_CODEC.decode(bytes.fromhex(CUSTOMER_BEFORE_SENT)) == then
    for name in ("zone", "zone_ms", "types", "made", "made_forgotten_ms", "held", "last_accept_ms", "last_reject_ms"):
        setattr(then, name, getattr(Customer(), name))
    assert STATE_CODEC.decode(bytes.fromhex(FIRST_CUSTOMER)) == then
    partition.split_to, partition.place_base, partition.swept, partition.copying = 0, 0, 256, False
    assert STATE_CODEC.decode(bytes.fromhex(SECOND_PARTITION)) == partition
    partition.logic, partition.logic_sequence = 1, -1
    assert STATE_CODEC.decode(bytes.fromhex(FIRST_PARTITION)) == partition
