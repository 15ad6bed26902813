"""What an engine counts, as metrics of the process that it runs in."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agents.engine.counters import Counters
from agents.engine.partition import Partition
from agents.engine.worker import Engine

_Family = CounterMetricFamily | GaugeMetricFamily

_COUNTED: dict[str, tuple[str, Callable[[Counters], int]]] = {
    "attune_records": ("Records of the source that were taken in, dead letters included.", lambda c: c.records),
    "attune_outputs": ("Records that were sent, dead letters included.", lambda c: c.outputs),
    "attune_dead_letters": ("Records that became dead letters.", lambda c: c.dead_letters),
    "attune_batches": ("Batches that were made durable together.", lambda c: c.batches),
}
_PARTITION: dict[str, tuple[str, Callable[[Partition], float]]] = {
    "attune_durable_position": (
        "Source offset up to which outputs and states are durable, -1 for none.",
        lambda p: p.durable,
    ),
    "attune_folded_position": ("Source offset up to which records were taken in, -1 for none.", lambda p: p.folded),
    "attune_queued_records": ("Records that were fetched and wait to be taken in.", lambda p: p.queued),
    "attune_partition_blocked": (
        "1 while the next record cannot be taken in; the log of the process says why.",
        lambda p: p.blocked is not None,
    ),
    "attune_states": ("States that the partition holds.", lambda p: len(p.table)),
    "attune_state_bytes": ("About how much memory they take, encoded, the mapping included.", lambda p: p.table.bytes),
}
_PROCESS: dict[str, tuple[str, Callable[[Engine], float]]] = {
    "attune_assigned_partitions": ("Partitions at work in this process.", lambda e: len(e.partitions)),
    "attune_restore_running": ("1 while states are being restored.", lambda e: min(e.restores.running, 1)),
    "attune_restore_partitions": ("Partitions of the newest restore.", lambda e: e.restores.partitions),
    "attune_restore_partitions_done": ("Partitions of it that are restored.", lambda e: e.restores.partitions_done),
    "attune_restore_records": (
        "Records to read for those partitions of the newest restore that were begun.",
        lambda e: e.restores.records,
    ),
    "attune_restore_records_done": ("Records of them that are read.", lambda e: e.restores.records_done),
    "attune_last_restore_seconds": ("How long the newest restore took.", lambda e: e.restores.last_seconds),
}
_PROCESS_COUNTED: dict[str, tuple[str, Callable[[Engine], int]]] = {
    "attune_rebalances": ("Times that the group gave out partitions anew.", lambda e: e.rebalances),
    "attune_restores": ("Restores of states that ended well.", lambda e: e.restores.ended),
    "attune_recoveries": ("Times that partitions began again from the logs in place.", lambda e: e.recoveries),
}


def waits(engine: Engine) -> str | None:
    """Return what an engine waits for before it folds; None where it is at work, be it with no partition."""
    restores = engine.restores
    if restores.running:
        return f"states are being restored, {restores.partitions_done} of {restores.partitions} partitions are done"
    return None if engine.takes_runs else "Kafka or the group has not given this process partitions yet"


class EngineCollector(Collector):
    """Reads an engine's numbers when Prometheus asks; copies of its mappings, since its loop goes on meanwhile."""

    def __init__(self, role: str, engine: Engine) -> None:
        self._role = role
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        """Yield the families, labelled with role and, where it says something, partition."""
        engine, role = self._engine, self._role
        for name, (says, of_process) in _PROCESS.items():
            yield _filled(GaugeMetricFamily(name, says, labels=["role"]), [((role,), of_process(engine))])
        for name, (says, of_process_counted) in _PROCESS_COUNTED.items():
            yield _filled(CounterMetricFamily(name, says, labels=["role"]), [((role,), of_process_counted(engine))])
        labels = ["role", "partition"]
        counters = sorted(engine.counters.copy().items())
        for name, (says, counted) in _COUNTED.items():
            rows = [((role, str(number)), counted(one)) for number, one in counters]
            yield _filled(CounterMetricFamily(name, says, labels=labels), rows)
        partitions = sorted(engine.partitions.copy().items())
        for name, (says, of_partition) in _PARTITION.items():
            states = [((role, str(number)), of_partition(one)) for number, one in partitions]
            yield _filled(GaugeMetricFamily(name, says, labels=labels), states)


def _filled(family: _Family, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    for labels, value in rows:
        family.add_metric(labels, value)
    return family
