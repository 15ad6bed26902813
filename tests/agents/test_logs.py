"""Logs stay readable while something is wrong."""

import logging

from agents.logs import Calm


def said(calm: Calm, message: str, *values: object) -> str | None:
    record = logging.LogRecord("aiokafka", logging.ERROR, "file", 1, message, values, None)
    return record.getMessage() if calm.filter(record) else None


def test_a_message_that_repeats_itself_is_passed_now_and_then() -> None:
    """The first passes, the rest of five seconds do not, and the next one says how many there were."""
    now = [100.0]
    calm = Calm(5.0, lambda: now[0])
    assert said(calm, "Unable to connect to %s", "a:1") == "Unable to connect to a:1"
    assert said(calm, "Unable to connect to %s", "a:2") is None
    assert said(calm, "Unable to connect to %s", "a:3") is None
    assert said(calm, "Something else") == "Something else"
    now[0] += 5.0
    assert said(calm, "Unable to connect to %s", "a:4") == "Unable to connect to a:4 (2 more like it)"
    now[0] += 5.0
    assert said(calm, "Unable to connect to %s", "a:5") == "Unable to connect to a:5"
