"""The clocks of the brokers against that of this machine, measured without writing anything.

Kafka tells nobody the time.  Two answers show it all the same:

- The append time of a record that comes while we look: the broker took it from its clock between two of our looks.
  Only a broker that leads a partition to which something is appended shows its clock so; where the coordinator runs
  that is every second.  Asked for is the newest append time of a partition, so that no record is read.
- The controller's state of its quorum, whose leader notes the present time for itself; that needs Describe on the
  cluster.

Of a quiet cluster only this is known: a record whose append time lies in our future proves that its broker is ahead.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int8, Int16, Int32, Int64, Schema, TaggedFields

from agents.ops.doctor.brokers import Cluster
from agents.ops.doctor.finding import Finding, failed, not_known, ok, warning

CLOCK: Final = "clock"
LOOK_SECONDS: Final = 2.5
"""How long to wait for something to be appended: the coordinator appends to every partition each second."""
_POLL_SECONDS: Final = 0.1
_NOTABLE_SECONDS: Final = 1.0
_MAX_TIMESTAMP: Final = -3
_PARTITIONS: Final = 100
"""Of how many partitions a broker is asked at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class Skew:
    """By how many seconds a clock is ahead of ours: between `least` and `most`; `most` is None where that is open."""

    least: float
    most: float | None

    def surely(self) -> float:
        """Return by how much the clocks differ for certain, negative where the other one is behind."""
        if self.least > 0:
            return self.least
        return min(0.0, self.most) if self.most is not None else 0.0

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least:.2f} s ahead"
        middle, half = (self.least + self.most) / 2, (self.most - self.least) / 2
        side = "ahead" if middle >= 0 else "behind"
        return f"{abs(middle):.2f} s {side} (give or take {half:.2f} s)"


async def look(
    cluster: Cluster, topics: Sequence[str], *, stale_seconds: float, now: Callable[[], float] = time.time
) -> list[Finding]:
    """Compare clocks; from `stale_seconds` on it is a failure.

    `topics` are those with append times of the brokers, in the order in which to ask for them.
    """
    leads: dict[int, list[tuple[str, int]]] = {}
    for topic in topics:
        for _, partition, leader, *_ in cluster.topics[topic][3]:
            leads.setdefault(leader, []).append((topic, partition))
    asked = {
        f"node {node}": _of_broker(reached.connection, leads.get(node, [])[:_PARTITIONS], now)
        for node, reached in cluster.nodes.items()
    }
    controller = _of_controller(cluster.any.connection, now)
    *brokers, by_quorum = await asyncio.gather(*asked.values(), controller)
    found = dict(zip(asked, brokers, strict=True))
    if by_quorum is not None:
        found["the active controller"] = by_quorum
    return list(_told(found, stale_seconds))


def _told(found: Mapping[str, Skew | None], stale_seconds: float) -> Iterable[Finding]:
    wrong = {who: skew for who, skew in found.items() if skew and abs(skew.surely()) >= _NOTABLE_SECONDS}
    why = (
        "ticks, freshness of the views, lag in seconds and leases compare this machine's clock with the brokers' "
        f"append times: from {stale_seconds:g} s on (views.stale_seconds) fresh views are called stale, or "
        "stale ones fresh"
    )
    remedy = "let this machine and that broker keep time by the same servers: `chronyc tracking` or `timedatectl`"
    for who, skew in wrong.items():
        judged = failed if abs(skew.surely()) >= stale_seconds else warning
        yield judged(CLOCK, f"the clock of {who} is {skew}, compared with this machine's", why, remedy)
    right = {who: skew for who, skew in found.items() if skew and skew.most is not None and who not in wrong}
    silent = [who for who, skew in found.items() if who not in right and who not in wrong]
    if right:
        quiet = f"; of {', '.join(silent)} nothing was seen" if silent else ""
        yield ok(CLOCK, f"{', '.join(f'{who} is {skew}' for who, skew in right.items())}{quiet}")
    elif not wrong:
        yield not_known(
            CLOCK,
            f"nothing was appended within {LOOK_SECONDS:g} s to a topic whose append times this user may see, and the "
            "controller is not asked without Describe on the cluster; no record bears a time of our future, so no "
            "broker is known to be ahead, and whether one is behind cannot be seen",
            "run it again while `attune worker coordinator` runs, or compare `date -u` here and on each broker",
        )


async def _of_broker(connection: Any, partitions: Sequence[tuple[str, int]], now: Callable[[], float]) -> Skew | None:
    """Watch the newest append times of partitions that a broker leads until one of them changes."""
    if not partitions:
        return None
    deadline = time.monotonic() + LOOK_SECONDS
    newest: Mapping[tuple[str, int], tuple[int, int]] = {}
    asked = 0.0
    while True:
        before, asked = asked, now()
        try:
            found = _newest(await connection.send(_ListOffsets(partitions)))
        except (KafkaError, OSError, TimeoutError, NotImplementedError):  # the last one of a broker before Kafka 3.0
            return None
        received = now()
        for where, (offset, timestamp) in found.items():
            if where in newest and offset > newest[where][0]:
                return Skew(timestamp / 1000 - received, timestamp / 1000 - before)
        newest = found
        if time.monotonic() > deadline:
            ahead = max((timestamp for _, timestamp in found.values()), default=0) / 1000 - received
            return Skew(ahead, None) if ahead > _NOTABLE_SECONDS else None
        await asyncio.sleep(_POLL_SECONDS)


def _newest(answer: Any) -> dict[tuple[str, int], tuple[int, int]]:
    return {
        (topic, partition): (offset, timestamp)
        for topic, partitions, _ in answer.topics
        for partition, error, timestamp, offset, *_ in partitions
        if not error and offset >= 0
    }


async def _of_controller(connection: Any, now: Callable[[], float]) -> Skew | None:
    """Ask the controller's quorum; None where this user may not, or the cluster has none."""
    asked = now()
    try:
        answer = await connection.send(_DescribeQuorum())
    except (KafkaError, OSError, TimeoutError, NotImplementedError):
        return None
    received = now()
    for _, partitions, _ in answer.topics:
        for _, error, leader, _, _, voters, *_others in partitions:
            for replica, _end, timestamp, *_rest in voters:
                if not error and replica == leader and timestamp > 0:
                    return Skew(timestamp / 1000 - received, timestamp / 1000 - asked)
    return None


_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_REPLICAS = CompactArray(
    ("replica_id", Int32), ("log_end_offset", Int64), ("last_fetch", Int64), ("last_caught_up", Int64), _TAGS
)


class _ListOffsetsAnswer(Response):  # type: ignore[misc]
    """ListOffsets, version 7: the first that knows the newest timestamp."""

    API_KEY = 2
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("timestamp", Int64),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _ListOffsetsQuestion(RequestStruct):  # type: ignore[misc]
    """ListOffsets, version 7."""

    FLEXIBLE_VERSION = True
    API_KEY = 2
    API_VERSION = 7
    RESPONSE_TYPE = _ListOffsetsAnswer
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("isolation_level", Int8),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(("partition", Int32), ("leader_epoch", Int32), ("timestamp", Int64), _TAGS),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _ListOffsets(Request[_ListOffsetsQuestion]):  # type: ignore[misc]
    """Asks for the newest timestamp of some partitions, and where it stands."""

    API_KEY: ClassVar[int] = 2

    def __init__(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._of: dict[str, list[tuple[int, int, int, dict[int, bytes]]]] = {}
        for topic, partition in partitions:
            self._of.setdefault(topic, []).append((partition, -1, _MAX_TIMESTAMP, {}))

    def build(self, request_struct_class: type[_ListOffsetsQuestion]) -> _ListOffsetsQuestion:
        return request_struct_class(-1, 0, [(topic, of, {}) for topic, of in self._of.items()], {})


class _QuorumAnswer(Response):  # type: ignore[misc]
    """DescribeQuorum, version 1: the first with times."""

    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("current_voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _QuorumQuestion(RequestStruct):  # type: ignore[misc]
    """DescribeQuorum, version 1."""

    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 1
    RESPONSE_TYPE = _QuorumAnswer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic", _TEXT), ("partitions", CompactArray(("partition", Int32), _TAGS)), _TAGS)),
        _TAGS,
    )


class _DescribeQuorum(Request[_QuorumQuestion]):  # type: ignore[misc]
    """Asks for the quorum of the controllers."""

    API_KEY: ClassVar[int] = 55

    def build(self, request_struct_class: type[_QuorumQuestion]) -> _QuorumQuestion:
        return request_struct_class([("__cluster_metadata", [(0, {})], {})], {})
