"""The oracle on a journal that was split: its copies are exactly what they must be, or it says so."""

from collections.abc import Callable
from typing import Any

import pytest

from agents.proof.growth import Growth
from agents.proof.report import Kind, Report
from schemas import headers as names
from tests.streams.journal import Record
from tests.streams.splitting import Split, _split
from tests.streams.test_growth import story, tell


def judge(grown: Split, counts: list[int]) -> tuple[Growth, Report]:
    """Return what the oracle finds."""
    report = Report()
    growth = Growth(counts, len(grown.logs), report)
    for number in sorted(grown.logs):
        for record in grown.logs[number]:
            growth.take(record, dict(record.headers))
            if record.key is not None:
                assert record.partition in growth.homes(record)
    return growth, report


@pytest.mark.parametrize("again", [None, 60])
def test_a_sound_split_is_held(again: int | None) -> None:
    """Split once, or twice: every copy is counted and nothing differs."""
    journal = story(11, 150)
    grown = tell(journal, {40: 2} | ({again + 40: 4} if again else {}))
    growth, report = judge(grown, [1, 2] + ([4] if again else []))
    assert report.held, report.differences
    assert report.copied == sum(
        names.first(record.headers, names.COPIED) is not None for log in grown.logs.values() for record in log
    )
    assert growth.partitions == grown.partitions


def test_copies_on_their_way_are_held() -> None:
    """While copies are made, the number is not approved yet and a prefix of them is right."""
    grown = tell(story(11, 150), {})
    grown.split(2)
    grown.logs[0].pop()
    grown.logs[1] = grown.logs[1][:20]
    growth, report = judge(grown, [1])
    assert report.held, report.differences
    assert (report.copied, growth.partitions) == (20, 1)


def test_a_batch_that_landed_twice_is_held() -> None:
    """The fold passes over it."""
    grown = tell(story(11, 150), {40: 2})
    log = grown.logs[1]
    grown.logs[1] = [*log[:10], *log[4:10], *log[10:]]
    _, report = judge(grown, [1, 2])
    assert report.held, report.differences
    assert report.copies == 6


def _without_one(log: list[Record]) -> None:
    del log[7]


def _twisted(log: list[Record]) -> None:
    log[7], log[8] = log[8], log[7]


def _altered(log: list[Record]) -> None:
    log[7] = log[7]._replace(value=(log[7].value or b"") + b" ")


def _of_others(log: list[Record]) -> None:
    log[7] = log[7]._replace(headers=[*log[7].headers[:-1], (names.COPIED, b"3/7")])


def _garbled(log: list[Record]) -> None:
    log[7] = log[7]._replace(headers=[*log[7].headers[:-1], (names.COPIED, b"three")])


def _ended_early(log: list[Record]) -> None:
    end = next(number for number, record in enumerate(log) if record.headers[0][1] == b"split")
    log[end] = _split(1, log[end].offset, 2, 17)


@pytest.mark.parametrize("spoil", [_without_one, _twisted, _altered, _of_others, _garbled, _ended_early])
def test_copies_that_are_not_right_are_found(spoil: Callable[[list[Any]], None]) -> None:
    """A copy that is missing, out of order, altered, of another partition, without place; a Split that lies."""
    grown = tell(story(11, 150), {40: 2})
    spoil(grown.logs[1])
    _, report = judge(grown, [1, 2])
    assert set(report.counts) == {Kind.OTHER_COPY}


def test_a_missing_tail_is_found_at_the_split() -> None:
    """Copies that end too early are noticed where they say that they are complete."""
    grown = tell(story(11, 150), {})
    grown.split(2)
    del grown.logs[1][-3:-1]
    _, report = judge(grown, [1, 2])
    assert "2 copies from partition 0 are missing" in str(report.differences[0])


def test_a_late_router_is_told_apart() -> None:
    """A record behind the Split of somebody who has moved belongs to the new partition, and belonged here before."""
    journal = story(11, 150)
    grown = tell(journal, {})
    grown.split(2)
    growth, _ = judge(grown, [1, 2])
    late = next(
        record for record in journal.records if record.key and growth.homes(record._replace(partition=1))[0] == 1
    )
    assert growth.homes(late._replace(partition=0)) == (1, 0)
