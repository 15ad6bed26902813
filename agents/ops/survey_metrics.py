"""A survey as metrics: the names of kafka_exporter where it has one, ours elsewhere."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from agents.ops.lag import GroupLag, PartitionLag, Status
from agents.ops.survey import DeadLetters, PartitionRange, Survey

STATES = ("Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "Empty", "Dead")
"""States of a group as Kafka calls them; one that is not among them is exported all the same."""
_NUMBER = {status: number for number, status in enumerate(Status)}

_PARTITION = ("topic", "partition")
_OF_PARTITION: dict[str, tuple[str, Callable[[PartitionRange], float]]] = {
    "kafka_topic_partition_current_offset": ("Offset that the next record will get.", lambda p: p.end),
    "kafka_topic_partition_oldest_offset": ("First offset that is kept.", lambda p: p.begin),
    "kafka_topic_partition_under_replicated_partition": ("1 while a copy is behind or missing.", lambda p: not p.whole),
}
_GROUP_PARTITION = ("consumergroup", "topic", "partition")
_OF_GROUP_PARTITION: dict[str, tuple[str, Callable[[PartitionLag], float | None]]] = {
    "kafka_consumergroup_current_offset": ("Committed offset.", lambda p: p.committed),
    "kafka_consumergroup_lag": ("Records between the committed offset and the end.", lambda p: p.lag),
    "kafka_consumergroup_lag_seconds": (
        "Age of the record at the committed offset, 0 at the end.",
        lambda p: p.seconds,
    ),
    "attune_consumergroup_lag_trend": (
        "Records a second by which the lag grows.",
        lambda p: p.trend,
    ),
    "attune_consumergroup_commit_rate": ("Records a second that are committed.", lambda p: p.rate),
    "attune_consumergroup_partition_status": (
        "By Burrow's rules: 0 OK, 1 WARN, 2 STALL (owned and stands still), 3 STOP (owned by nobody).",
        lambda p: _NUMBER[p.status],
    ),
    "attune_consumergroup_partition_owned": (
        "1 where a member of the group owns the partition.",
        lambda p: p.member is not None,
    ),
}
_OF_GROUP: dict[str, tuple[str, Callable[[GroupLag], float]]] = {
    "kafka_consumergroup_members": ("Members of the group.", lambda g: len(g.members)),
}
_DEAD: dict[str, tuple[str, Callable[[DeadLetters], float | None]]] = {
    "attune_dead_letters_retained": ("Dead letters that can be looked at and returned.", lambda d: d.retained),
    "attune_dead_letter_oldest_age_seconds": ("Age of the oldest of them.", lambda d: d.oldest_seconds),
    "attune_dead_letter_retention_seconds": ("How long a dead letter is kept.", lambda d: d.retention_seconds),
}


def families(survey: Survey) -> Iterator[Metric]:
    """Yield every family that a survey fills; a figure that is not known has no sample."""
    for name, (says, of_partition) in _OF_PARTITION.items():
        rows = [((one.topic, str(one.partition)), of_partition(one)) for one in survey.partitions]
        yield _gauge(name, says, _PARTITION, rows)
    counts: dict[str, int] = {}
    for one in survey.partitions:
        counts[one.topic] = counts.get(one.topic, 0) + 1
    yield _gauge(
        "kafka_topic_partitions", "Partitions with a leader.", ("topic",), [((t,), n) for t, n in counts.items()]
    )
    yield from _groups(survey.groups)
    yield from _dead_letters(survey.dead_letters)


def _groups(groups: Iterable[GroupLag]) -> Iterator[Metric]:
    groups = list(groups)
    pairs = [(group, one) for group in groups for one in group.partitions]
    for name, (says, of_pair) in _OF_GROUP_PARTITION.items():
        rows = [((group.group, one.topic, str(one.partition)), of_pair(one)) for group, one in pairs]
        yield _gauge(name, says, _GROUP_PARTITION, rows)
    lags: dict[tuple[str, ...], float] = {}
    for group, one in pairs:
        if one.lag is not None:
            lags[group.group, one.topic] = lags.get((group.group, one.topic), 0) + one.lag
    labels = ("consumergroup", "topic")
    yield _gauge("kafka_consumergroup_lag_sum", "Records behind, all partitions together.", labels, lags.items())
    for name, (says, of_group) in _OF_GROUP.items():
        yield _gauge(name, says, ("consumergroup",), [((group.group,), of_group(group)) for group in groups])
    yield _gauge(
        "attune_consumergroup_status",
        "1 for the worst status of the group's partitions, by Burrow's rules.",
        ("consumergroup", "status"),
        [((group.group, status.value), group.status is status) for group in groups for status in Status],
    )
    yield _gauge(
        "attune_consumergroup_state",
        "1 for the state of the group as Kafka calls it.",
        ("consumergroup", "state"),
        [
            ((group.group, state), group.state == state)
            for group in groups
            for state in dict.fromkeys((*STATES, group.state))
        ],
    )


def _dead_letters(stock: Iterable[DeadLetters]) -> Iterator[Metric]:
    stock = list(stock)
    for name, (says, of_stock) in _DEAD.items():
        yield _gauge(name, says, ("topic",), [((one.topic,), of_stock(one)) for one in stock])
    appended = CounterMetricFamily(
        "attune_dead_letters_appended", "Dead letters since the topic was made.", labels=("topic",)
    )
    for one in stock:
        appended.add_metric((one.topic,), one.appended)
    yield appended


def _gauge(
    name: str, says: str, labels: Iterable[str], rows: Iterable[tuple[tuple[str, ...], float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, says, labels=list(labels))
    for values, number in rows:
        if number is not None:
            family.add_metric(values, number)
    return family
