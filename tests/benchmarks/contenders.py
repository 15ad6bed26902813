"""Who takes part, with how many of the events, how often, and what is asked of them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tests.benchmarks.cluster import Cluster
from tests.benchmarks.contest import Contest
from tests.benchmarks.core_contest import CoreContest
from tests.benchmarks.peers.interpreter import PeerModule
from tests.benchmarks.peers.java import JavaClass
from tests.benchmarks.plain import Input
from tests.benchmarks.plain_contest import PlainContest
from tests.benchmarks.router_contest import RouterContest
from tests.benchmarks.runner import Ours, Runner
from tests.benchmarks.traces import InBytewax, InKafka, Traces

EVENTS: Final = 1_000_000
FAUST_PART: Final = 20
CORE_PART: Final = 5
ROUTER_PART: Final = 10


class Target(NamedTuple):
    """What is asked: a rate (events per CPU second) at least, or a ratio to the loop at least."""

    rate: float | None = None
    ratio: float | None = None

    def __str__(self) -> str:
        return f">= {self.rate:,.0f}" if self.rate is not None else f">= {self.ratio:.2f}x loop"


class Contender(NamedTuple):
    """One row of the table.  `part`: it gets the total number of events divided by that."""

    name: str
    runner: Runner
    contest: str
    part: int = 1
    once: bool = False
    """Run it once, however many rounds there are."""
    target: Target | None = None
    note: str = ""
    traces: Traces = InKafka()
    killed: bool = False
    """Kill it, too, in a run apart."""
    survives: bool = False
    """Right states and no lost output are asked of it after a kill."""
    guarantee: str = ""
    """What it is set to keep when it is killed."""


CONTENDERS: Final = (
    Contender(
        "loop",
        Ours("loop"),
        "plain",
        note="hand-written aiokafka loop, the ceiling",
        killed=True,
        guarantee="none: durable in the engine's order, but it restores nothing",
    ),
    Contender(
        "engine",
        Ours("engine"),
        "plain",
        target=Target(ratio=0.8),
        note="this engine, the same plain fold",
        killed=True,
        survives=True,
        guarantee="states exactly once by a changelog, outputs at least once, copies byte for byte alike by position",
    ),
    Contender(
        "quix",
        PeerModule("quix_fold", needs="quixstreams"),
        "plain",
        note="Quix Streams, RocksDB and changelog topic",
        traces=InKafka(named="changelog__{group}--{source}--default", ending=b"|state"),
        killed=True,
        guarantee='processing_guarantee="exactly-once" (Kafka transactions)',
    ),
    Contender(
        "bytewax",
        PeerModule("bytewax_fold", needs="bytewax.run"),
        "plain",
        note="Bytewax, states in memory and in its recovery store (SQLite), no changelog topic",
        traces=InBytewax(flow="fold", source="source", step="states"),
        killed=True,
        guarantee="its recovery: states exactly once by snapshots, outputs at least once (it has no transactions)",
    ),
    Contender(
        "kafka-streams",
        JavaClass("PlainFold", artifact="kafka-streams"),
        "plain",
        note="Kafka Streams, RocksDB with cache and changelog topic; the JIT's warming up counts",
        killed=True,
        guarantee="processing.guarantee=exactly_once_v2 (Kafka transactions)",
    ),
    Contender(
        "stock-faust",
        Ours("stock_faust"),
        "plain part",
        part=FAUST_PART,
        once=True,
        note=f"stock Faust with a Table; 1/{FAUST_PART} of events and of customers",
        killed=True,
        guarantee="at_least_once, as Faust has it",
    ),
    Contender(
        "thin-core",
        Ours("shipped"),
        "core",
        part=CORE_PART,
        target=Target(rate=30_000),
        note="shipped fold worker, pack and model",
    ),
    Contender("router", Ours("shipped"), "router", part=ROUTER_PART, note="shipped router, 5 % with personal data"),
)


def contests(cluster: Cluster, events: int) -> Mapping[str, Callable[[], Contest]]:
    """Return how each contest is made, by its name, for a total number of events; in the order to hold them.

    The core comes before the router, which appends to the journal that the core reads.
    """
    given = Input.of(events)
    traces = {contender.name: contender.traces for contender in CONTENDERS}
    return {
        "plain": lambda: PlainContest(cluster, given, "bench.source", traces),
        "plain part": lambda: PlainContest(cluster, given.part(FAUST_PART), "bench.source-part", traces),
        "core": lambda: CoreContest(cluster, max(1, events // CORE_PART)),
        "router": lambda: RouterContest(cluster, max(1, events // ROUTER_PART)),
    }
