"""Who takes part, with how many of the events, how often, and what is asked of them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tests.benchmarks.cluster import Cluster
from tests.benchmarks.contest import Contest
from tests.benchmarks.core_contest import CoreContest
from tests.benchmarks.plain import Input
from tests.benchmarks.plain_contest import PlainContest
from tests.benchmarks.router_contest import RouterContest

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
    module: str
    contest: str
    part: int = 1
    once: bool = False
    """Run it once, however many rounds there are."""
    target: Target | None = None
    note: str = ""


CONTENDERS: Final = (
    Contender("loop", "loop", "plain", note="hand-written aiokafka loop, the ceiling"),
    Contender("engine", "engine", "plain", target=Target(ratio=0.8), note="this engine, the same plain fold"),
    Contender(
        "faust",
        "stock_faust",
        "plain part",
        part=FAUST_PART,
        once=True,
        note=f"stock Faust with a Table; 1/{FAUST_PART} of events and of customers",
    ),
    Contender(
        "thin-core",
        "shipped",
        "core",
        part=CORE_PART,
        target=Target(rate=30_000),
        note="shipped fold worker, pack and model",
    ),
    Contender("router", "shipped", "router", part=ROUTER_PART, note="shipped router, 5 % with personal data"),
)


def contests(cluster: Cluster, events: int) -> Mapping[str, Callable[[], Contest]]:
    """Return how each contest is made, by its name, for a total number of events; in the order to hold them.

    The core comes before the router, which appends to the journal that the core reads.
    """
    given = Input.of(events)
    return {
        "plain": lambda: PlainContest(cluster, given, "bench.source"),
        "plain part": lambda: PlainContest(cluster, given.part(FAUST_PART), "bench.source-part"),
        "core": lambda: CoreContest(cluster, max(1, events // CORE_PART)),
        "router": lambda: RouterContest(cluster, max(1, events // ROUTER_PART)),
    }
