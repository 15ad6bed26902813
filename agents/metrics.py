"""/metrics of every process: prometheus-client's registry over HTTP, on the setting `[metrics] host, port`.

Metrics are read when Prometheus asks, by a thread of their own, from numbers that the process counts anyway: nothing
is paid on the hot path.  Names are `attune_*`, units base units, labels few and never a customer.
"""

import contextlib
import importlib.metadata
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from agents.errors import AttuneError
from agents.settings import MetricsSettings, variable

logger = logging.getLogger(__name__)

HIGHEST_PORT = 65_535


@contextlib.contextmanager
def served(
    settings: MetricsSettings, role: str, *collectors: Collector, registry: CollectorRegistry = REGISTRY
) -> Iterator[str | None]:
    """Serve a registry while the block runs; yield the address of its page, None where no port is set.

    `role` is what this process is (router, fold, connector ...); `collectors` are registered for the time of the
    block.  The default registry has CPU, memory and files of the process.  Raises AttuneError where the port is taken.
    """
    if settings.port is None:
        yield None
        return
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter
    own = (_About(role), *collectors)
    try:
        server, thread = prometheus_client.start_http_server(settings.port, settings.host, registry)
    except OSError as error:
        raise _taken(settings.host, settings.port, error) from error
    address = f"http://{_shown(settings.host)}:{server.server_port}/metrics"
    with contextlib.ExitStack() as registered:
        registered.callback(server.server_close)
        registered.callback(thread.join)
        registered.callback(server.shutdown)
        for collector in own:
            registry.register(collector)
            registered.callback(registry.unregister, collector)
        logger.info("%s: metrics on %s", role, address)
        yield address


def ports(settings: MetricsSettings, roles: Iterable[str]) -> dict[str, int | None]:
    """Return the port of each of several processes on one machine: port, port + 1, ... in their order.

    None (off) and 0 (any free one) are the same for all.  Raises AttuneError where one is taken or does not exist.
    """
    first = settings.port
    if not first:
        return dict.fromkeys(roles, first)
    found: dict[str, int | None] = {}
    for port, role in enumerate(roles, start=first):
        if port > HIGHEST_PORT:
            raise AttuneError(
                f"there is no port {port} for the metrics of the {role}",
                f"set {variable('metrics.port')} lower: each process takes the next one",
            )
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise _taken(settings.host, port, error) from error
        found[role] = port
    return found


class Counts(Collector):
    """Counts that a process keeps by outcome in a mapping, as one family of counters."""

    def __init__(self, name: str, says: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Take the family's name (`_total` is added), its help, and what returns the counts by outcome."""
        self._name = name
        self._says = says
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        found = CounterMetricFamily(self._name, self._says, labels=["outcome"])
        for outcome, count in self._read().items():
            found.add_metric([outcome], count)
        return [found]


class _About(Collector):
    """Says what a process is: role and release."""

    def __init__(self, role: str) -> None:
        self._labels = [role, importlib.metadata.version("attune-streams")]

    def collect(self) -> Iterable[Metric]:
        """Return one family with the value 1."""
        found = GaugeMetricFamily("attune_process_info", "What this process is, always 1.", labels=["role", "version"])
        found.add_metric(self._labels, 1)
        return [found]


def _taken(host: str, port: int, error: OSError) -> AttuneError:
    return AttuneError(
        f"metrics cannot be served on {_shown(host)}:{port}: {error.strerror or error}",
        f"set {variable('metrics.port')} to a free port (0: any, the log says which) and {variable('metrics.host')} "
        "to an address of this machine",
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
