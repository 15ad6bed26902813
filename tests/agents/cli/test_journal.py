"""`attune journal`: what it refuses, and what it shows without writing anything."""

import json

import pytest

from agents import splitting
from agents.settings import Settings
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.agents.cli.conftest import Attune

PARTITIONS = CATALOGUE.topics[topics.JOURNAL].partitions


@pytest.mark.parametrize("wanted", ["3", "9"])
def test_a_number_that_will_not_do(connected: Settings, attune: Attune, wanted: str) -> None:
    """Exit 2, with a number that would do."""
    done = attune("journal", "split", "--to", wanted, "--yes")
    assert done.code == 2
    assert "no larger multiple" in done.err
    assert f"choose a multiple, e.g. {2 * PARTITIONS}" in done.err


def test_a_name_that_nobody_could_read_later(connected: Settings, attune: Attune) -> None:
    """Exit 2 before anything is looked at or made: the name stands in the log of approvals for ever."""
    done = attune("journal", "split", "--to", str(2 * PARTITIONS), "--by", "\udcff", "--yes")
    assert (done.code, "--by" in done.err) == (2, True)
    assert json.loads(attune("journal", "status", "--json").out)["existing"] == PARTITIONS


def test_nothing_to_do(connected: Settings, attune: Attune) -> None:
    """The number that there is needs no split; exit 0."""
    done = attune("journal", "split", "--to", str(PARTITIONS), "--json")
    assert (done.code, json.loads(done.out)) == (0, {"partitions": PARTITIONS, "copied": 0, "paused_seconds": 0.0})


def test_a_rehearsal_writes_nothing(connected: Settings, attune: Attune) -> None:
    """It says what would be copied; the journal has as many partitions as before."""
    done = attune("journal", "split", "--to", str(2 * PARTITIONS), "--dry-run", "--json")
    assert done.code == 0, done.err
    assert set(json.loads(done.out)["copies"]) == {str(number) for number in range(PARTITIONS, 2 * PARTITIONS)}
    status = json.loads(attune("journal", "status", "--json").out)
    assert status == {
        "partitions": PARTITIONS,
        "existing": PARTITIONS,
        "changelog": PARTITIONS,
        "copying_to": None,
        "closed": False,
        "left": 0,
    }
    assert f"spread over {PARTITIONS} partitions" in attune("journal", "status").out


def test_it_asks_before_it_begins(connected: Settings, attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    """A no, or no answer at all, writes nothing; the question says that it cannot be taken back."""

    async def never(*_: object, **__: object) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr(splitting, "split", never)
    for typed in (b"n\n", b""):
        done = attune("journal", "split", "--to", str(2 * PARTITIONS), typed=typed)
        assert done.code == 1
        assert "It cannot be taken back" in done.err
