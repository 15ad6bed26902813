"""Latency and scaling: the figures have the right count and wrong results are told; nothing depends on how fast."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas import topics
from tests.benchmarks import latency, scaling, scaling_customers, scaling_workers
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.latency import Figures, Stages
from tests.benchmarks.scaling_customers import Contender, Cost, Material, Result
from tests.benchmarks.scaling_workers import Turn
from tests.benchmarks.stopwatch import RunFailed, Timing
from tests.benchmarks.verdict import Verdict
from tests.benchmarks.views_machine import Machine


def figures(rate: int, milliseconds: int) -> Figures:
    """Return figures of three outputs that came so many milliseconds after their interactions."""
    machine = Machine()
    machine.late_ms = [0.1, 0.1]
    outputs = [Stages(0.0, 1, 1 + milliseconds // 2, 1 + milliseconds, None)] * 3
    return Figures(rate, 10, outputs, machine, {"router": 0.5}, 1.0)


def turns(one: float, two: float, wrong: tuple[str, ...] = ()) -> list[Turn]:
    """Return a turn of one worker that took so many CPU seconds, and a turn of two that took so many together."""
    return [
        Turn(1, 1_000, [Timing(one, 2.0, 100.0)], 0.5, 0.3, Verdict(())),
        Turn(2, 1_000, [Timing(two / 2, 1.0, 100.0)] * 2, 0.5, 0.6, Verdict(wrong)),
    ]


@pytest.mark.kafka
def test_each_output_has_its_stages_in_order_and_the_proof_holds(tmp_path: Path) -> None:
    """Every event that was asked for goes out; what it leads to has append, copy, output and durable state in order."""
    (found,), wrong = asyncio.run(latency.measure(tmp_path, [100], 1.0, 40))
    assert not wrong
    assert found.events == 100
    assert found.outputs
    for one in found.outputs:
        assert one.appended <= one.copied <= one.given
        assert one.durable is not None
        assert one.durable >= one.given
    assert set(found.cores) == {"router", "fold", "coordinator", "broker", "producer"}
    assert f"outputs {len(found.outputs):,};" in latency.as_table([found])


def test_latency_is_asked_for_at_its_rate_only_and_a_miss_is_said() -> None:
    """At 1,000 events a second 10 ms are reached, 11 ms miss the median and 61 both; at 200 nothing is asked."""
    assert "p50 10: reached, p99 60: reached" in latency.as_table([figures(1_000, 10)])
    assert "p50 10: MISSED, p99 60: reached" in latency.as_table([figures(1_000, 11)])
    assert "p50 10: MISSED, p99 60: MISSED" in latency.as_table([figures(1_000, 61)])
    assert "p50 10" not in latency.as_table([figures(200, 61)])
    silent = figures(1_000, 10)._replace(outputs=())
    assert "MISSED" in latency.as_table([silent])


def test_a_proof_that_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The latency command ends with 1 and says what is wrong."""

    async def measure(*_: Any) -> tuple[list[Figures], list[str]]:
        return [figures(1_000, 10)], ["`attune prove` does not hold"]

    monkeypatch.setattr(latency, "measure", measure)
    assert latency.main(["--seconds", "1"]) == 1
    assert "WRONG `attune prove` does not hold" in capsys.readouterr().out


@pytest.mark.kafka
def test_one_worker_and_two_fold_the_same_journal(capsys: Any) -> None:
    """Both leave the states and outputs of a sequential fold, and both have their row."""
    code = scaling.main(["workers", "--events", "400", "--rounds", "1"])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "results: right" in out
    rows = [line.split() for line in out.splitlines()[1:3]]
    assert [row[:2] for row in rows] == [["1", "1"], ["2", "1"]]
    assert rows[0][2] == rows[1][2]


def test_the_ratio_of_two_workers_is_judged() -> None:
    """1.1 times the CPU of one is met, 1.2 times is MISSED; a turn that did not end cannot be met."""
    assert "met at 1.10" in scaling_workers.as_table(turns(1.0, 1.1))
    assert "MISSED at 1.20" in scaling_workers.as_table(turns(1.0, 1.2))
    ended, _ = turns(1.0, 1.1)
    failed = Turn(2, 1_000, (), 0.0, 0.0, Verdict(("it ended",)))
    assert "MISSED, it could not be measured" in scaling_workers.as_table([ended, failed])


def test_a_worker_that_ends_makes_a_turn_without_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of one ends the others' turn too, and the verdict holds the end of its log."""

    class Contest:
        async def prepare(self, *_: Any) -> Any:
            return Assignment("x", "", "", str(tmp_path), "group", "source")

        async def ends(self, _: Any) -> dict[int, int]:
            return {0: 10}

    async def time_run(_module: str, assignment: Any, *_: Any) -> Timing:
        if assignment.folder.endswith("1"):
            raise RunFailed("it ended with 3")
        await asyncio.Event().wait()
        raise AssertionError

    async def nobody(*_: Any) -> tuple[str, tuple[()]]:
        return "Empty", ()

    monkeypatch.setattr(scaling_workers, "time_run", time_run)
    monkeypatch.setattr(scaling_workers, "describe", nobody)
    bench = scaling_workers.Bench(Cluster("127.0.0.1:1", ""), tmp_path, 10, 0)
    bench.contest = Contest()  # type: ignore[assignment]
    turn = asyncio.run(bench.turn(2, 0))
    assert turn.verdict.wrong == ("it ended with 3",)
    assert not turn.timings


@pytest.mark.parametrize("of", ["workers", "customers"])
def test_wrong_results_are_told_and_end_with_one(of: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Whatever the ratio, a state that is missing is printed as WRONG."""

    async def workers(*_: Any) -> list[Turn]:
        return turns(1.0, 1.0, wrong=("states: 1 missing",))

    async def customers(*_: Any) -> Result:
        return Result([Cost(10, 5, 0.1)], {10: 100.0}, 600.0, ["states: 1 missing"])

    monkeypatch.setattr(scaling, "on_platform", lambda work: asyncio.run(work(None, None, 0)))
    monkeypatch.setattr(scaling_workers, "bench", workers)
    monkeypatch.setattr(scaling_customers, "bench", customers)
    assert scaling.main([of]) == 1
    out = capsys.readouterr().out
    assert "states: 1 missing" in out
    assert "WRONG" in out


@pytest.mark.kafka
def test_every_number_of_customers_has_its_turns(capsys: Any) -> None:
    """Workers with 30 and with 300 customers fold the same number of events, rightly, and say what is not asked."""
    code = scaling.main(["customers", "--customers", "30", "300", "--events", "100", "--rounds", "2"])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "results: right" in out
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [["30", "2", "100"], ["300", "2", "100"]]
    assert "which were not measured" in out


@pytest.mark.kafka
def test_a_lost_output_and_a_changed_state_are_found() -> None:
    """What a worker leaves is right; without an output, or with another state behind, it is not."""

    async def work(cluster: Cluster, home: Path, _broker: int) -> tuple[str, Sequence[str]]:
        material = Material(100)
        await cluster.create(dict.fromkeys(scaling_customers._OUTPUTS, 3))
        contender = Contender(cluster, home, 50, 0, material)
        await contender.fill()
        async with contender.working():
            pass
        given = [record async for record in cluster.read(topics.NEXT_BEST_ACTIONS)]
        right = await contender.judge(given)
        lost = await contender.judge(given[1:])
        customer = scaling_customers.number_of(given[0].key)
        changed = (customer % scaling_customers.PARTITIONS, given[0].key, material.states[0], ())
        await cluster.fill(contender.assignment.changelog, [changed])
        return "", [*right, "then", *lost, "then", *await contender.judge(given)]

    _, found = scaling.on_platform(work)
    assert len(found) == 4, found
    assert found[0] == found[2] == "then"
    assert "outputs: 1 missing, 0 too many, 0 different" in found[1]
    assert "states: 0 missing, 0 too many, 1 different" in found[3]


def test_the_ratio_of_a_million_customers_is_judged() -> None:
    """Twice the cost of ten thousand is met, more is MISSED."""

    def found(ratio: float) -> str:
        costs = [Cost(10_000, 100, 1.0), Cost(1_000_000, 100, ratio)]
        return scaling_customers.as_table(Result(costs, {10_000: 1.0, 1_000_000: 1.0}, 600.0, ()))

    assert "met at 2.00" in found(2.0)
    assert "MISSED at 2.10" in found(2.1)
