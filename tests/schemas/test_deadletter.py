"""Dead letters: Kafka Connect's headers, the record's own headers kept, nothing personal in the words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import deadletter, deadletter_envelope
from schemas.deadletter import Original, Stage
from schemas.errors import MalformedMessage

NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
CONTENT = st.one_of(st.none(), st.binary(max_size=20))
OWN = st.lists(st.tuples(NAME.filter(lambda n: not n.startswith(("__connect", "attune"))), CONTENT))


def _raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@given(OWN, st.booleans())
def test_what_is_written_is_read_and_the_own_headers_come_back(
    own: list[tuple[str, bytes | None]], encrypted: bool
) -> None:
    """The failure is parsed back, and the record's headers are there again, in order, doubles too."""
    error = _raised(MalformedMessage("3 bytes follow the Interaction"))
    found = deadletter.failure("crm.interactions.v1", 3, 1300, Stage.VALUE_CONVERTER, "attune.router", error)
    dead = deadletter.headers(own, found, encrypted=encrypted)
    assert deadletter.parse(dead) == found
    assert deadletter.original_headers(dead) == own
    assert ((deadletter.ENCRYPTED, b"1") in dead) == encrypted
    assert found.message == "3 bytes follow the Interaction"
    assert found.exception_class == "schemas.errors.MalformedMessage"
    assert "test_deadletter.py" in found.stacktrace


def test_the_header_names_are_kafka_connects() -> None:
    """All eight, spelt as Kafka Connect spells them."""
    found = deadletter.failure("t", 0, 1, Stage.TASK_PUT, "c", ValueError("x"))
    assert [name for name, _ in deadletter.headers([], found)] == [
        "__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset", "__connect.errors.stage",
        "__connect.errors.class.name", "__connect.errors.exception.class.name", "__connect.errors.exception.message",
        "__connect.errors.exception.stacktrace",
    ]  # fmt: skip


def test_words_of_strange_errors_are_left_out() -> None:
    """A library's message may quote the record; its class and place are kept."""
    found = deadletter.failure("t", 0, 1, "TASK_PUT", "c", _raised(KeyError("ann@example.org")))
    assert "ann" not in found.message + found.stacktrace
    assert found.exception_class == "builtins.KeyError"


def test_an_error_that_vouches_for_its_words_keeps_them() -> None:
    """`quotes_no_values = True` says that a message is made of names and numbers."""

    class CareError(Exception):
        quotes_no_values = True

    assert deadletter.failure("t", 0, 1, "TASK_PUT", "c", CareError("limit 5")).message == "limit 5"


def test_a_second_failure_replaces_the_first() -> None:
    """A redriven record that fails again tells of its last failure only."""
    first = deadletter.headers([("a", b"1")], deadletter.failure("t", 0, 1, "TASK_PUT", "c", ValueError("x")))
    second = deadletter.failure("t", 0, 9, "TASK_PUT", "c", TypeError("y"))
    dead = deadletter.headers(first, second)
    assert len([name for name, _ in dead if name == deadletter.OFFSET]) == 1
    assert deadletter.parse(dead).offset == 9
    assert deadletter.original_headers(dead) == [("a", b"1")]


def test_headers_of_other_tools_are_read_as_far_as_they_go() -> None:
    """Absent and garbled ones are empty, or -1 for numbers."""
    garbled = [(deadletter.OFFSET, b"?"), (deadletter.PARTITION, b"9" * 5_000), (deadletter.EXCEPTION_MESSAGE, None)]
    found = deadletter.parse([(deadletter.TOPIC, b"orders"), *garbled, ("x", b"y"), (deadletter.STAGE, b"\xff")])
    assert (found.topic, found.partition, found.offset, found.message) == ("orders", -1, -1, "")
    assert found.stage == "\ufffd"
    assert [deadletter.number(value) for value in (None, b"", b"x", b"--1", b"\xc2\xb2", b"12")] == [-1] * 5 + [12]


def test_long_messages_are_cut() -> None:
    """A message has its beginning, a trace its end, where the error was raised."""
    found = deadletter.failure("t", 0, 1, "TASK_PUT", "c", MalformedMessage("x" * 100_000))
    assert len(found.message) == deadletter.MESSAGE_LIMIT


@given(CONTENT, CONTENT, st.lists(st.tuples(st.one_of(NAME, st.just("attune-dlq-truncated")), CONTENT)))
def test_an_envelope_gives_back_what_it_took(
    key: bytes | None, value: bytes | None, own: list[tuple[str, bytes | None]]
) -> None:
    """Key, value and headers, whatever they are called; null stays apart from empty."""
    record = Original(key, value, own)
    assert deadletter_envelope.unpack(deadletter_envelope.pack(record)) == record


@given(CONTENT, st.lists(st.tuples(NAME, CONTENT)), st.binary(max_size=40), st.data())
def test_a_garbled_envelope_is_told(
    key: bytes | None, own: list[tuple[str, bytes | None]], other: bytes, data: st.DataObject
) -> None:
    """Cut anywhere, or any other bytes: a record or MalformedMessage."""
    plaintext = deadletter_envelope.pack(Original(key, b"v", own))
    for garbled in (plaintext[: data.draw(st.integers(0, len(plaintext) - 1))], other):
        try:
            found = deadletter_envelope.unpack(garbled)
        except MalformedMessage:
            continue
        assert deadletter_envelope.pack(found) == garbled
    with pytest.raises(MalformedMessage, match="not UTF-8"):
        deadletter_envelope.unpack(deadletter_envelope.pack(Original(b"", b"", [])) + b"\0\0\0\1\xff\0\0\0\0")


def test_what_fits_is_kept_whole() -> None:
    """Up to 64 KB of value, and up to 64 KB of key and headers."""
    headers: list[tuple[str, bytes | None]] = [("h", b"x" * (deadletter.REST_LIMIT - 100 - 11))]
    record = Original(b"k" * 100, b"v" * deadletter.VALUE_LIMIT, headers)
    assert deadletter.cut(record) == (record, [])


@pytest.mark.parametrize(
    ("record", "marks", "kept"),
    [
        (Original(b"k", b"v" * 65_537, []), {deadletter.TRUNCATED: b"65537"}, (1, 65_536, 0)),
        (Original(b"k" * 900_000, b"v", [("h", b"1")]), {deadletter.TRUNCATED_KEY: b"900000"}, (16_384, 1, 1)),
        (Original(b"k" * 65_520, None, [("h", b"1")] * 9), {deadletter.TRUNCATED_KEY: b"65520"}, (16_384, 0, 9)),
        (Original(None, b"v", [("h", b"x" * 900_000)]), {deadletter.TRUNCATED_HEADERS: b"1"}, (0, 1, 0)),
        (Original(b"k", b"v", [("h", b"x" * 30_000)] * 5), {deadletter.TRUNCATED_HEADERS: b"5"}, (1, 1, 2)),
        (Original(b"k", b"v", [("", None)] * 300_000), {deadletter.TRUNCATED_HEADERS: b"300000"}, (1, 1, 6_553)),
        (
            Original(b"k" * 300_000, b"v" * 300_000, [("h" * 300_000, b"")]),
            {
                deadletter.TRUNCATED: b"300000",
                deadletter.TRUNCATED_KEY: b"300000",
                deadletter.TRUNCATED_HEADERS: b"1",
            },
            (16_384, 65_536, 0),
        ),
    ],
)
def test_what_is_too_long_is_cut_and_marked(
    record: Original, marks: dict[str, bytes], kept: tuple[int, int, int]
) -> None:
    """Of value and key the beginning, of the headers the first, each whole; the marks say how much there was."""
    found, made = deadletter.cut(record)
    assert dict(made) == marks
    assert (len(found.key or b""), len(found.value or b""), len(found.headers)) == kept
    assert found.headers == record.headers[: kept[2]]
    assert (record.value or b"").startswith(found.value or b"")
    assert (record.key or b"").startswith(found.key or b"")


def test_only_true_returns_are_shown_outside_of_an_envelope() -> None:
    """A header that a producer calls so may hold anything; and of many returns the newest hundred are enough."""
    true = [(deadletter.REDRIVEN, b"crm.interactions.v1.dlq/0/%d" % n) for n in range(101)]
    false = [(deadletter.REDRIVEN, value) for value in (b"ann@example.org", b"crm/0/1", None, b"x" * 900 + b".dlq/0/1")]
    assert deadletter.returns([*false, *true, ("other", b"crm.interactions.v1.dlq/0/1")]) == true[1:]


def test_marks_of_others_are_taken_off_where_a_letter_is_not_sealed() -> None:
    """What is called as our marks are cannot pass for one."""
    own = [("a", None), (deadletter.TRUNCATED, b"x"), (deadletter.ENCRYPTED, b"1"), (deadletter.TOPIC, b"y")]
    assert deadletter.original_headers(own) == [("a", None)]
