"""The benchmark judges rightly and says what it found; nothing here depends on how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.plain import Input, sequential
from tests.benchmarks.report import Row, Run
from tests.benchmarks.stopwatch import Timing
from tests.benchmarks.verdict import Verdict, differences, repetitions

ROOT = Path(__file__).parents[2]
_BY_NAME = {contender.name: contender for contender in CONTENDERS}


def rows(loop: float, engine: float, wrong: tuple[str, ...] = ()) -> list[Row]:
    """Return rows of a loop and an engine that took so many CPU seconds for a million events."""
    return [
        Row(_BY_NAME["loop"], [Run(1_000_000, Verdict(()), Timing(loop, loop, 1.0))]),
        Row(_BY_NAME["engine"], [Run(1_000_000, Verdict(wrong), Timing(engine, engine, 1.0))]),
    ]


@pytest.mark.kafka
def test_plain_contenders_are_right_and_all_in_the_table(tmp_path: Path) -> None:
    """Loop, engine and stock Faust fold a few thousand events as a sequential fold does."""
    command = [sys.executable, "-m", "tests.benchmarks", "--events", "4000", "--rounds", "1"]
    command += ["--results", str(tmp_path), "--only", "loop", "engine", "faust"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [line.split()[0] for line in done.stdout.split("\n\n")[0].splitlines()]
    assert shown == ["contender", "loop", "engine", "faust"]
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert result["right"]
    for contender in result["contenders"]:
        assert contender["right"], contender
        assert [run["counted"] for run in contender["runs"]] == [contender["events"]]
        assert contender["runs"][0]["cpu_seconds"] >= 0


def test_a_missed_target_is_printed_and_is_no_failure() -> None:
    """An engine at half of the loop's rate is MISSED, one at nine tenths is met; both are right."""
    assert "MISSED" in report.as_table(rows(loop=1.0, engine=2.0))
    assert report.as_json(rows(loop=1.0, engine=2.0), {})["right"]
    text = report.as_table(rows(loop=0.9, engine=1.0))
    assert "met" in text
    assert "MISSED" not in text


def test_a_wrong_result_is_printed_and_is_a_failure() -> None:
    """The table says WRONG and what is wrong; the JSON, which gives the exit code, says not right."""
    wrong = rows(loop=1.0, engine=1.0, wrong=("states: 1 missing",))
    assert "WRONG engine: states: 1 missing" in report.as_table(wrong)
    assert not report.as_json(wrong, {})["right"]


def test_a_lost_a_doubled_and_a_changed_output_are_found() -> None:
    """Whatever differs from the sequential fold is told apart."""
    expected = dict(sequential(Input.of(400)).outputs)
    assert expected
    found = dict(expected)
    first, second = list(found)[:2]
    del found[first]
    found[second] = b"customer-000000", b""
    found[b"9/9/9"] = b"", b""
    (fault,) = differences("outputs", found, expected)
    assert fault.startswith("outputs: 1 missing, 1 too many, 1 different")
    assert not list(differences("outputs", expected, expected))
    assert list(repetitions("outputs", 11, 10)) == ["outputs: 1 of 11 records are repetitions"]
