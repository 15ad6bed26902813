"""How far groups are behind: in records, in seconds, and whether that is getting better.

Seconds behind is now minus the append time of the record at the committed offset, 0 when caught up; it is exact
where the topic has LogAppendTime and the broker's clock agrees with ours.

The status needs no thresholds.  It is by Burrow's rules over a window of samples, in this order: no lag now or at any
time in the window is OK; an offset that stands still is STALL while a member owns the partition and STOP when none
does; a lag that never shrinks, or an offset that went back, is WARN; all else is OK.  (Burrow sees the commits
themselves and calls STOP what is no longer committed at all; we ask for offsets, so ownership tells the two apart.)
"""

import dataclasses
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from agents.ops.members import REBALANCING, Member, answered, describe
from agents.ops.records_at import records_at

_NO_OFFSET = -1

Offsets = dict[TopicPartition, int]


class Status(StrEnum):
    """Burrow's words, from best to worst."""

    OK = "OK"
    WARN = "WARN"
    STALL = "STALL"
    STOP = "STOP"


_RANK = {status: rank for rank, status in enumerate(Status)}


class Sample(NamedTuple):
    """One look at one partition: seconds of a monotonic clock, committed offset, lag in records."""

    at: float
    committed: int
    lag: int


@dataclasses.dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition as a group sees it.

    `committed` is None where nothing was committed, and then so are `lag` (records), `seconds`, `trend` (records a
    second by which the lag grows) and `rate` (records a second that are committed).  `seconds` is also None where the
    record at the committed offset could not be read; `trend` and `rate` need two samples.
    """

    topic: str
    partition: int
    committed: int | None
    begin: int
    end: int
    lag: int | None
    seconds: float | None
    trend: float | None
    rate: float | None
    status: Status
    member: Member | None


@dataclasses.dataclass(frozen=True, slots=True)
class GroupLag:
    """A group: its state as Kafka calls it (Stable, Empty, Dead...), members and partitions."""

    group: str
    state: str
    members: tuple[Member, ...]
    partitions: tuple[PartitionLag, ...]

    @property
    def lag(self) -> int:
        """Records behind, all partitions together."""
        return sum(found.lag or 0 for found in self.partitions)

    @property
    def seconds(self) -> float:
        """Seconds behind, of the partition that is farthest."""
        return max((found.seconds or 0.0 for found in self.partitions), default=0.0)

    @property
    def status(self) -> Status:
        """The worst of its partitions."""
        return max((found.status for found in self.partitions), key=_RANK.__getitem__, default=Status.OK)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "group": self.group,
            "state": self.state,
            "status": self.status.value,
            "lag": self.lag,
            "seconds": round(self.seconds, 3),
            "members": [
                {
                    "client_id": member.client_id,
                    "host": member.host,
                    "member_id": member.member_id,
                    "owns": [f"{tp.topic}/{tp.partition}" for tp in member.owns],
                }
                for member in self.members
            ],
            "partitions": [_plain(found) for found in self.partitions],
        }


class Window:
    """Samples of the last seconds, and what is known of the records at committed offsets."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self._samples: dict[tuple[str, TopicPartition], deque[Sample]] = {}
        self._times: dict[tuple[str, TopicPartition], tuple[int, int]] = {}

    def add(self, group: str, tp: TopicPartition, sample: Sample) -> Sequence[Sample]:
        """Add a sample and return those of the window, oldest first."""
        samples = self._samples.setdefault((group, tp), deque())
        samples.append(sample)
        while samples[0].at < sample.at - self.seconds:
            samples.popleft()
        return samples

    def appended_ms(self, group: str, tp: TopicPartition, offset: int) -> int | None:
        """Return the append time of the record at an offset if it is known."""
        known = self._times.get((group, tp))
        return known[1] if known is not None and known[0] == offset else None

    def note(self, group: str, tp: TopicPartition, offset: int, appended_ms: int) -> None:
        """Remember the append time of the record at an offset."""
        self._times[group, tp] = (offset, appended_ms)

    def keep(self, wanted: Collection[tuple[str, TopicPartition]]) -> None:
        """Forget all other groups and partitions: groups come and go for as long as an exporter runs."""
        for remembered in (self._samples, self._times):
            for gone in [known for known in remembered if known not in wanted]:
                del remembered[gone]


async def group_lag(
    admin: Any, consumer: Any, groups: Iterable[str] | None = None, *, window: Window | None = None
) -> list[GroupLag]:
    """Return the lag of groups, all of the cluster by default, in order of their names.

    `admin` and `consumer` are aiokafka's, started; the consumer has neither group nor subscription and is used by
    nobody else.  Give the same `window` at every call: status, trend and rate come from its samples.  A group that
    does not exist is Dead and has no partitions.  A partition without a leader is left out.  Raises KafkaError.

    Share groups are left out: they have no committed offset to be behind of.
    """
    names = sorted(await all_groups(admin) if groups is None else set(groups))
    window = window or Window()
    described = {name: await describe(admin, name) for name in names}
    offsets = {name: await answered(partial(admin.list_consumer_group_offsets, name)) for name in names}
    existing = await _existing(admin)
    wanted: dict[str, list[TopicPartition]] = {}
    for name in names:
        owned = [tp for member in described[name][1] for tp in member.owns]
        wanted[name] = sorted(tp for tp in {*offsets[name], *owned} if tp in existing)
    window.keep({(name, tp) for name, tps in wanted.items() for tp in tps})
    every = sorted({tp for tps in wanted.values() for tp in tps})
    begins, ends = await bounds(consumer, every)
    now, now_ms = time.monotonic(), int(time.time() * 1000)
    found: list[GroupLag] = []
    for name in names:
        state, members = described[name]
        committed = {tp: offsets[name][tp].offset for tp in wanted[name] if tp in offsets[name]}
        behind = {
            tp: max(offset, begins[tp])
            for tp, offset in committed.items()
            if offset != _NO_OFFSET and offset < ends[tp]
        }
        unknown = {tp: at for tp, at in behind.items() if window.appended_ms(name, tp, at) is None}
        for tp, record in (await records_at(consumer, unknown)).items():
            window.note(name, tp, unknown[tp], record.timestamp)
        owners = {tp: member for member in members for tp in member.owns}
        look = _Look(name, window, now, now_ms, moving=state in REBALANCING)
        partitions = tuple(
            look.partition(tp, committed.get(tp, _NO_OFFSET), begins[tp], ends[tp], owners.get(tp))
            for tp in wanted[name]
        )
        found.append(GroupLag(name, state, members, partitions))
    return found


async def all_groups(admin: Any) -> list[str]:
    """Return the names of the groups that consume, or have committed offsets without membership."""
    return [name for name, kind in await answered(admin.list_consumer_groups) if kind in ("consumer", "")]


async def bounds(consumer: Any, tps: Sequence[TopicPartition]) -> tuple[Offsets, Offsets]:
    """Return where partitions begin and where they end; each must have a leader.  Raises KafkaError.

    The consumer is told of all topics at once: by itself aiokafka learns of one unknown topic a retry, so that a
    hundred take longer than a request may.
    """
    if not tps:
        return {}, {}
    await consumer._client.set_topics({tp.topic for tp in tps})  # noqa: SLF001
    return await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)


def status_of(samples: Sequence[Sample], *, owned: bool) -> Status:
    """Return the status by the rules above; `samples` oldest first, at least one."""
    if any(sample.lag == 0 for sample in samples):
        return Status.OK
    first, last = samples[0], samples[-1]
    pairs = list(zip(samples, list(samples)[1:], strict=False))
    if all(sample.committed == first.committed for sample in samples):
        if not owned:
            return Status.STOP
        return Status.STALL if last.at > first.at else Status.OK
    if any(after.committed < before.committed for before, after in pairs):
        return Status.WARN
    return Status.OK if any(after.lag < before.lag for before, after in pairs) else Status.WARN


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """One look at one group; `moving` says that partitions are being given out and so have no owner."""

    group: str
    window: Window
    now: float
    now_ms: int
    moving: bool

    def partition(
        self, tp: TopicPartition, committed: int, begin: int, end: int, member: Member | None
    ) -> PartitionLag:
        """Return what there is to say of one partition."""
        if committed == _NO_OFFSET:
            unread = Status.WARN if end > begin else Status.OK
            return PartitionLag(tp.topic, tp.partition, None, begin, end, None, None, None, None, unread, member)
        lag = max(0, end - committed)
        samples = self.window.add(self.group, tp, Sample(self.now, committed, lag))
        appended = self.window.appended_ms(self.group, tp, max(committed, begin))
        behind = None if appended is None else max(0, self.now_ms - appended) / 1000
        first, span = samples[0], self.now - samples[0].at
        return PartitionLag(
            topic=tp.topic,
            partition=tp.partition,
            committed=committed,
            begin=begin,
            end=end,
            lag=lag,
            seconds=behind if lag else 0.0,
            trend=(lag - first.lag) / span if span else None,
            rate=(committed - first.committed) / span if span else None,
            status=status_of(samples, owned=self.moving or member is not None),
            member=member,
        )


async def _existing(admin: Any) -> set[TopicPartition]:
    """Return the partitions that have a leader: nobody can say where the others end."""
    return {
        TopicPartition(topic["topic"], partition["partition"])
        for topic in await admin.describe_topics()
        for partition in topic["partitions"]
        if partition["leader"] >= 0
    }


def _plain(found: PartitionLag) -> dict[str, Any]:
    return {
        "topic": found.topic,
        "partition": found.partition,
        "committed": found.committed,
        "begin": found.begin,
        "end": found.end,
        "lag": found.lag,
        "seconds": None if found.seconds is None else round(found.seconds, 3),
        "trend": None if found.trend is None else round(found.trend, 3),
        "rate": None if found.rate is None else round(found.rate, 3),
        "status": found.status.value,
        "client_id": None if found.member is None else found.member.client_id,
        "member_id": None if found.member is None else found.member.member_id,
    }
