"""Three brokers that replicate to one another through links that can be cut.

All listen on loopback. Each has a file of hosts of its own, by which the name of another is an address where a link
listens: so one broker can be cut off from the others while clients still reach it, which is what a partitioned network
looks like to them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from agents.platform import process
from agents.platform.kafka import KafkaServer, cluster_id
from tests.faults.links import Links

NODES = (1, 2, 3)
SUPPORTED = sys.platform == "linux"
"""Elsewhere loopback has one address and not one for every link."""


class Brokers:
    """A cluster of three under a folder; every node is a controller, too."""

    def __init__(self, home: Path) -> None:
        """Choose ports and write what each node reads."""
        self.links = Links()
        self._ports = {node: process.free_port() for node in NODES}
        self._controllers = {node: process.free_port() for node in NODES}
        self._replication = {node: process.free_port() for node in NODES}
        self.pids: dict[int, int] = {}
        cluster = cluster_id()
        self._servers = {node: self._server(home / f"broker-{node}", node, cluster) for node in NODES}
        for node in NODES:
            for other in NODES:
                if node != other:
                    for port in (self._replication[other], self._controllers[other]):
                        self.links.add(f"{node}-{other}", _address(node, other), port, port)

    @property
    def bootstrap(self) -> str:
        """Where clients begin."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def start(self, *nodes: int) -> None:
        """Start nodes, all if none are named, and wait until they answer."""
        for node in nodes or NODES:
            self.pids[node] = self._servers[node].launch(self._ports[node], self._controllers[node], attached=True)
        for node in nodes or NODES:
            self._servers[node].wait(self.pids[node], self._ports[node])

    def stop(self, *nodes: int) -> None:
        """Kill nodes, all if none are named."""
        for node in nodes or tuple(self.pids):
            process.stop(self.pids.pop(node), kill=True)

    def cut_off(self, node: int) -> None:
        """Let nothing pass between a node and the others; clients still reach it."""
        self.links.cut(*(name for name in _names() if str(node) in name))

    def _server(self, home: Path, node: int, cluster: str) -> KafkaServer:
        home.mkdir(parents=True)
        hosts = home / "hosts"
        hosts.write_text(
            "127.0.0.1 localhost\n"
            + "".join(f"{'127.0.0.1' if other == node else _address(node, other)} broker-{other}\n" for other in NODES)
        )
        voters = ",".join(f"{other}@broker-{other}:{self._controllers[other]}" for other in NODES)
        own, replication, controller = self._ports[node], self._replication[node], self._controllers[node]
        return KafkaServer(
            home,
            cluster=cluster,
            jvm=(f"-Djdk.net.hosts.file={hosts}",),
            overrides={
                "node.id": str(node),
                "controller.quorum.voters": voters,
                "listeners": f"PLAINTEXT://127.0.0.1:{own},REPLICATION://127.0.0.1:{replication},"
                f"CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{own},REPLICATION://broker-{node}:{replication}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,REPLICATION:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "REPLICATION",
                "default.replication.factor": "3",
                "min.insync.replicas": "2",
                "offsets.topic.replication.factor": "3",
                "transaction.state.log.replication.factor": "3",
                "transaction.state.log.min.isr": "2",
                "replica.lag.time.max.ms": "5000",
            },
        )


def _address(node: int, other: int) -> str:
    """Return where a node finds another."""
    return f"127.0.{node}.{other}"


def _names() -> Iterator[str]:
    yield from (f"{node}-{other}" for node in NODES for other in NODES if node != other)
