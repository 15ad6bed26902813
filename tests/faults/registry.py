"""A schema registry that can go away."""

import dataclasses

from agents.platform import apicurio, process
from agents.platform.apicurio import ApicurioServer


@dataclasses.dataclass
class Registry:
    """A real Apicurio for tests; it can go away, and comes back on its port with its schemas and ids."""

    server: ApicurioServer
    port: int = dataclasses.field(default_factory=process.free_port)
    management_port: int = dataclasses.field(default_factory=process.free_port)
    pid: int = 0

    @property
    def url(self) -> str:
        return apicurio.url_of(self.port)

    def start(self) -> None:
        self.pid = self.server.start(self.port, self.management_port, attached=True)

    def kill(self) -> None:
        process.stop(self.pid, kill=True)
