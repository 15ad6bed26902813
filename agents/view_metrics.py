"""What the view agent counts, as metrics of its process."""

import time
from collections.abc import Iterable

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agents.views.agent import ViewAgent

_COUNTED = {
    "records": "Records of the log that were taken in.",
    "states": "States that were written, passed-over ones included.",
    "older": "States that were passed over since the views had newer ones.",
    "outputs": "Decisions and suppressions that were written.",
    "refused": "Records that no fold wrote, and that are not shown.",
    "published": "States that were sent to their topic.",
    "builds": "Times that a whole partition was derived from the log.",
    "waits": "Times that a write had to wait, for Redis or a document.",
    "starts": "Partitions that were begun.",
}


_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class ViewCollector(Collector):
    """Reads an agent's numbers when Prometheus asks."""

    def __init__(self, agent: ViewAgent) -> None:
        self._agent = agent

    def collect(self) -> Iterable[Metric]:
        """Yield the families; those of a partition are labelled with its topic and number."""
        counters, now_ms = self._agent.counters, time.time() * 1_000
        for name, says in _COUNTED.items():
            yield CounterMetricFamily(f"attune_view_{name}", says, value=getattr(counters, name))
        sources = list(self._agent.sources.values())
        yield GaugeMetricFamily("attune_view_waiting", "1 while a write waits.", value=min(counters.waiting, 1))
        age = GaugeMetricFamily(
            "attune_view_age_seconds",
            "How long ago the views were last known to contain all of a partition.",
            labels=["topic", "partition"],
        )
        for one in sources:
            if one.mark.shown_ms:
                age.add_metric([one.tp.topic, str(one.tp.partition)], max(0.0, (now_ms - one.mark.shown_ms) / 1_000))
        yield age


def lag() -> Histogram:
    """Return what the agent tells of each run: how old its first record was once the views contained it."""
    says = "From the append of a record to its being in Redis; of each run that of its oldest record."
    return Histogram("attune_view_lag_seconds", says, buckets=_BUCKETS, registry=None)
