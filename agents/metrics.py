"""/metrics of every process: prometheus-client's registry over HTTP, on the setting `[metrics] host, port`.

Metrics are read when Prometheus asks, by a thread of their own, from numbers that the process counts anyway: nothing
is paid on the hot path.  Names are `attune_*`, units base units, labels few and never a customer.
"""

import contextlib
import importlib.metadata
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from wsgiref import simple_server

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from agents.errors import AttuneError
from agents.settings import MetricsSettings, variable

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

HIGHEST_PORT = 65_535

Waits = Callable[[], str | None]
"""Says what a process waits for before it does its work; None where it is at work."""


@contextlib.contextmanager
def served(
    settings: MetricsSettings,
    role: str,
    *collectors: Collector,
    registry: CollectorRegistry = REGISTRY,
    flags: Mapping[str, str] = MappingProxyType({}),
    waits: Waits = lambda: None,
) -> Iterator[str | None]:
    """Serve a registry while the block runs; yield the address of its page, None where no port is set.

    Beside it `/readyz` answers 200, or 503 with what `waits` says: what this process is still waiting for.

    `role` is what this process is (router, fold, connector ...); `collectors` are registered for the time of the
    block.  The default registry has CPU, memory and files of the process.  Raises AttuneError where the port is taken;
    `flags` are those that gave `port` or `host`, by that name, and are named instead of the settings.
    """
    if settings.port is None:
        yield None
        return
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter
    try:
        server = _server(settings.host, settings.port, _pages(prometheus_client.make_wsgi_app(registry), waits))
    except OSError as error:
        raise _taken(settings.host, settings.port, error, flags) from error
    address = f"http://{_shown(settings.host)}:{server.server_port}/metrics"
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    with contextlib.ExitStack() as ending:
        ending.callback(server.server_close)
        ending.callback(thread.join)
        ending.callback(server.shutdown)
        ending.enter_context(collected(settings, _About(role), *collectors, registry=registry))
        logger.info("%s: metrics on %s", role, address)
        yield address


@contextlib.contextmanager
def collected(
    settings: MetricsSettings, *collectors: Collector, registry: CollectorRegistry = REGISTRY
) -> Iterator[None]:
    """Show collectors while the block runs, on a page that `served` serves already; nothing where no port is set."""
    with contextlib.ExitStack() as registered:
        for collector in collectors if settings.port is not None else ():
            registry.register(collector)
            registered.callback(registry.unregister, collector)
        yield


class Gate:
    """What a process waits for, from its first moment on: a `Waits` for `served`."""

    def __init__(self, reason: str) -> None:
        """Say what is waited for until `open` is called."""
        self._waits: Waits = lambda: reason

    def __call__(self) -> str | None:
        """Return what is waited for; None where the process is at work."""
        return self._waits()

    def open(self, waits: Waits = lambda: None) -> None:
        """Say from now on what `waits` says, by default that the process is at work."""
        self._waits = waits


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """A request does not wait for the one before, and none keeps the process from ending."""

    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(simple_server.WSGIRequestHandler):
    """Writes no line for each request: a scrape every few seconds is no news."""

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


def _server(host: str, port: int, pages: "WSGIApplication") -> simple_server.WSGIServer:
    return simple_server.make_server(
        host, port, pages, server_class=_Server6 if ":" in host else _Server, handler_class=_Quiet
    )


def _pages(metrics: "WSGIApplication", waits: Waits) -> "WSGIApplication":
    """Return /readyz, and everywhere else the metrics."""

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return metrics(environ, start)
        reason = waits()
        body = f"{'ready' if reason is None else f'waits: {reason}'}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start("200 OK" if reason is None else "503 Service Unavailable", headers)
        return [body]

    return answer


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
    """Counts that a process keeps by outcome, or by another label, in a mapping, as one family of counters."""

    def __init__(self, name: str, says: str, read: Callable[[], Mapping[str, int]], *, label: str = "outcome") -> None:
        """Take the family's name (`_total` is added), its help, and what returns the counts by the label's value."""
        self._label = label
        self._name = name
        self._says = says
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        found = CounterMetricFamily(self._name, self._says, labels=[self._label])
        for value, count in self._read().items():
            found.add_metric([value], count)
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


def _taken(host: str, port: int, error: OSError, flags: Mapping[str, str] = MappingProxyType({})) -> AttuneError:
    port_from, host_from = (flags.get(name) or variable(f"metrics.{name}") for name in ("port", "host"))
    return AttuneError(
        f"metrics cannot be served on {_shown(host)}:{port}: {error.strerror or error}",
        f"set {port_from} to a free port (0: any, the log says which) and {host_from} to an address of this machine",
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
