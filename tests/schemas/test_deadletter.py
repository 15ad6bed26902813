"""Dead letters: Kafka Connect's headers, the record's own headers kept, nothing personal in the words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import deadletter
from schemas.deadletter import Stage
from schemas.errors import MalformedMessage

OWN = st.lists(st.tuples(st.text(max_size=10).filter(lambda n: not n.startswith("__connect")), st.binary(max_size=20)))


def _raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@given(OWN, st.booleans())
def test_what_is_written_is_read_and_the_own_headers_come_back(own: list[tuple[str, bytes]], encrypted: bool) -> None:
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
    found = deadletter.parse([(deadletter.TOPIC, b"orders"), (deadletter.OFFSET, b"?"), ("x", b"y")])
    assert (found.topic, found.partition, found.offset, found.message) == ("orders", -1, -1, "")


def test_long_messages_are_cut() -> None:
    """A message has its beginning, a trace its end, where the error was raised."""
    found = deadletter.failure("t", 0, 1, "TASK_PUT", "c", MalformedMessage("x" * 100_000))
    assert len(found.message) == deadletter.MESSAGE_LIMIT
