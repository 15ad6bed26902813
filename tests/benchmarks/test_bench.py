"""The benchmark judges rightly and says what it found; nothing here depends on how fast anything is."""

import asyncio
import gc
import json
import os
import pickle
import re
import sqlite3
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from agents.engine.app import tune_garbage_collector
from tests.benchmarks import plot, report
from tests.benchmarks.__main__ import hold
from tests.benchmarks.assignment import COLLECTOR, Assignment
from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.peers.interpreter import LOCK, PeerModule
from tests.benchmarks.peers.java import JavaClass
from tests.benchmarks.plain import Input, decode, encode, sequential
from tests.benchmarks.plain_contest import Output, tally
from tests.benchmarks.report import Kill, Row, Run
from tests.benchmarks.runner import Missing
from tests.benchmarks.stopwatch import Timing
from tests.benchmarks.traces import InBytewax
from tests.benchmarks.verdict import Tally, Verdict, differences, repetitions

ROOT = Path(__file__).parents[2]
_BY_NAME = {contender.name: contender for contender in CONTENDERS}
_ABOUT = {"events": 1, "cpus": 1, "python": "3.11", "at": "now"}


def rows(loop: float, engine: float, wrong: tuple[str, ...] = (), kills: tuple[Kill, ...] = ()) -> list[Row]:
    """Return rows of a loop and an engine that took so many CPU seconds for a million events."""
    return [
        Row(_BY_NAME["loop"], [Run(1_000_000, Verdict(()), Timing(loop, loop, 1.0))], kills),
        Row(_BY_NAME["engine"], [Run(1_000_000, Verdict(wrong), Timing(engine, engine, 1.0))], kills),
    ]


def bench(tmp_path: Path, *given: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the command; return what it printed and the JSON that it wrote."""
    command = [sys.executable, "-m", "tests.benchmarks", "--rounds", "1", "--results", str(tmp_path), *given]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.json")
    return done, json.loads(path.read_text())


@pytest.mark.kafka
def test_plain_contenders_are_right_and_all_in_the_table(tmp_path: Path) -> None:
    """Loop, engine and stock Faust fold a few thousand events as a sequential fold does.

    A peer that cannot run is in the table with its reason, and is no failure.
    """
    only = ["loop", "engine", "kafka-streams", "stock-faust"]
    done, result = bench(tmp_path, "--events", "4000", "--kills", "0", "--only", *only, PATH=str(tmp_path))
    shown = [line.split()[0] for line in done.stdout.split("\n\n")[0].splitlines()]
    assert shown == ["contender", *only]
    assert "kafka-streams: missing: no JDK on the PATH" in done.stdout
    assert result["right"]
    for contender in result["contenders"]:
        if contender["name"] == "kafka-streams":
            assert (contender["missing"], contender["right"]) == ("no JDK on the PATH", None)
            continue
        assert contender["right"], contender
        assert [run["counted"] for run in contender["runs"]] == [contender["events"]]
        assert contender["runs"][0]["cpu_seconds"] >= 0


@pytest.mark.kafka
def test_the_engine_loses_and_doubles_no_event_when_it_is_killed(tmp_path: Path) -> None:
    """Killed with SIGKILL in the midst of a run and started again, it has the states of a sequential fold."""
    _, result = bench(tmp_path, "--events", "20000", "--only", "engine")
    (engine,) = result["contenders"]
    (kill,) = engine["kills"]
    assert not kill["late"], "it was done before it could be killed"
    assert engine["survived"]
    assert [kill[name] for name in ("lost_events", "doubled_events", "wrong_states", "lost_outputs")] == [0] * 4


def test_a_peer_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No JDK, a package that is nowhere, a folder that is none: each is a reason in one line; nothing is fetched."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(Missing, match=r"^no JDK on the PATH$"):
        JavaClass("PlainFold", artifact="kafka-streams", home=tmp_path).ready()
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"nowhere==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(Missing, match=r"requirements\.lock could not be installed: .*nowhere==1\.0"):
        PeerModule("quix_fold", needs="quixstreams", lock=lock, home=tmp_path).ready()
    lock.write_text("")
    with pytest.raises(Missing, match=f"quixstreams cannot be imported on {sys.platform}"):
        PeerModule("quix_fold", needs="quixstreams", lock=lock, home=tmp_path).ready()
    with pytest.raises(Missing, match="no interpreter for peers in"):
        PeerModule("quix_fold", needs="quixstreams", lock=lock, home=lock).ready()


def test_a_contest_goes_on_without_the_missing() -> None:
    """A contender that cannot run is a row with its reason; where all are missing, no input is written."""

    class Absent:
        def ready(self) -> None:
            raise Missing("it is away")

    away = Contender("away", Absent(), "plain", killed=True)  # type: ignore[arg-type]
    untouched: Any = None
    options = Namespace(rounds=1, kills=1, seed=1)
    (row,) = asyncio.run(hold(untouched, [away], untouched, Path(), options))
    assert (row.missing, row.runs, row.kills) == ("it is away", [], [])
    assert "away: missing: it is away" in report.as_table([row])
    result = report.as_json([row], _ABOUT)
    assert result["right"]
    assert result["contenders"][0]["right"] is None
    assert "missing: it is away" in plot.as_svg(result)


def test_the_lock_of_the_peers_pins_what_they_need() -> None:
    """Each requirement is in the lock with its version, every one there has hashes, and no address stands in it."""
    lock = LOCK.read_text()
    asked = re.findall(r"^(\w+)(?:\[\w+\])?(==[\d.]+)", LOCK.with_suffix(".in").read_text(), re.MULTILINE)
    assert {name for name, _ in asked} == {"quixstreams", "bytewax", "msgspec"}
    assert all(name + version in lock for name, version in asked)
    pinned = re.findall(r"^\S+==\S+.*\\\n(.*)", lock, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^\w", lock, re.MULTILINE))
    assert all(line.strip().startswith("--hash=sha256:") for line in pinned)
    assert "://" not in lock


def test_all_run_with_the_engines_garbage_collector() -> None:
    """The thresholds that every contender in Python gets are those of the engine's own processes."""
    before = gc.get_threshold()
    try:
        tune_garbage_collector()
        assert gc.get_threshold() == COLLECTOR
    finally:
        gc.set_threshold(*before)


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


def test_after_a_kill_lost_and_doubled_are_told_apart() -> None:
    """By the counts of the states for events, by position and bytes for outputs; nothing amiss is `right`."""
    expected = sequential(Input.of(400))
    sent: Counter[Output] = Counter((position, *output) for position, output in expected.outputs.items())
    states = dict(expected.states)
    assert str(tally(sent, states, expected)) == "right"
    first, second, third, fourth = list(states)[:4]
    gone = decode(states.pop(first)).count
    short, long, other = decode(states[second]), decode(states[third]), decode(states[fourth])
    short.count -= 1
    long.count += 2
    other.sum += 1
    states |= {second: encode(short), third: encode(long), fourth: encode(other)}
    lost, copied = list(sent)[:2]
    del sent[lost]
    sent[copied] += 2
    sent[b"9/9/9", b"", b""] += 1
    assert tally(sent, states, expected) == Tally(
        lost_events=gone + 1,
        doubled_events=2,
        wrong_states=1,
        lost_outputs=1,
        doubled_outputs=2,
        wrong_outputs=1,
    )


def test_what_a_kill_did_is_printed_and_a_failure_only_where_survival_is_asked() -> None:
    """Copies of outputs are allowed to the engine, a lost event is not; the loop may do either."""
    copies = rows(1.0, 1.0, kills=(Kill(0.5, 0.2, Tally(doubled_outputs=3)), Kill(0.7, 0.3, Tally(doubled_outputs=4))))
    assert report.as_table(copies).count("7 doubled outputs") == 2
    assert report.as_json(copies, {})["right"]
    lost = rows(1.0, 1.0, kills=(Kill(0.5, 0.2, Tally(lost_events=1_200)),))
    text = report.as_table(lost)
    assert "WRONG engine after a kill: 1,200 lost events" in text
    assert "WRONG loop" not in text
    assert not report.as_json(lost, {})["right"]
    stuck = rows(1.0, 1.0, kills=(Kill(0.5, failure="it was not done after 9 s:\nlast words"),))
    assert "it was not done after 9 s\n" in report.as_table(stuck)
    assert not report.as_json(stuck, {})["right"]
    late = rows(1.0, 1.0, kills=(Kill(0.5, late=True),))
    assert "done before it could be killed" in report.as_table(late)


def test_ratios_and_kills_are_in_the_picture() -> None:
    """It is well-formed, its bars are as long as the ratios, and wrong results are called so."""
    svg = plot.as_svg(report.as_json(rows(1.0, 4.0, wrong=("<lost>",), kills=(Kill(0.1),)), _ABOUT))
    root = ET.fromstring(svg)
    _, loop, engine = (float(rect.get("width", "0")) for rect in root.iter("{http://www.w3.org/2000/svg}rect"))
    assert engine == pytest.approx(loop / 4)
    words = " ".join(root.itertext())
    assert "0.250" in words
    assert "WRONG" in words
    assert "after a kill: right" in words


async def test_a_snapshot_of_bytewax_counts_once_the_next_epoch_has_begun(tmp_path: Path) -> None:
    """Progress and states are the newest ones before the frontier; a store without its tables holds nothing yet."""
    assignment = Assignment("bytewax", "", "", str(tmp_path), "group", "source")
    traces, cluster = InBytewax(flow="fold", source="source", step="states"), Any
    (tmp_path / "recovery").mkdir()
    store = sqlite3.connect(tmp_path / "recovery" / "part-0.sqlite3")
    assert await traces.progress(cluster, assignment) == {}  # type: ignore[arg-type]
    with store:
        store.execute("CREATE TABLE fronts (worker_frontier INTEGER)")
        store.execute("CREATE TABLE snaps (step_id TEXT, state_key TEXT, snap_epoch INTEGER, ser_change BLOB)")
        store.execute("INSERT INTO fronts VALUES (6)")
        for step, key, epoch, value in (
            ("fold.source", "0-in", 5, 50),
            ("fold.source", "1-in", 5, -2),
            ("fold.source", "0-in", 6, 60),
            ("fold.states.inner", "a", 4, b"old"),
            ("fold.states.inner", "a", 5, b"new"),
        ):
            store.execute("INSERT INTO snaps VALUES (?, ?, ?, ?)", (step, key, epoch, pickle.dumps(value)))
    assert await traces.progress(cluster, assignment) == {0: 50}  # type: ignore[arg-type]
    assert (await traces.states(cluster, assignment))[0] == {b"a": b"new"}  # type: ignore[arg-type]
    store.close()
