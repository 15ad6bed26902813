"""One Apicurio Registry on loopback, which speaks the API of Confluent's Schema Registry."""

import urllib.error
import urllib.request
from pathlib import Path

from agents.platform import jars, process
from agents.settings import made

_READY_SECONDS = 120.0
_PATH = "/apis/ccompat/v7"
_JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts two seconds sooner
    "-Djava.awt.headless=true",
)


class ApicurioServer:
    """A registry whose data, configuration and log stand under `home`; ids survive a restart, and a kill."""

    def __init__(self, home: Path) -> None:
        """Take the folder."""
        self.home = home.resolve()
        self.log = self.home / "registry.log"
        self._file = self.home / "registry.properties"

    @property
    def mark(self) -> str:
        """What the registry's command line holds: a URI, since Quarkus takes no path with a space in it."""
        return self._file.as_uri()

    def start(self, port: int, management_port: int, *, attached: bool) -> int:
        """Start on these ports and wait until it answers; return the process id."""
        jar = jars.apicurio()
        with made(self.home):
            self._file.write_text(self._properties(port, management_port))
        command = [str(jars.java()), *_JVM, f"-Dquarkus.config.locations={self.mark}", "-jar", str(jar)]
        server = process.start(command, self.log, attached=attached, cwd=self.home)
        process.wait_ready("Apicurio", server.pid, lambda: answers(port), self.log, seconds=_READY_SECONDS)
        return server.pid

    def _properties(self, port: int, management_port: int) -> str:
        settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": str(port),
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": str(management_port),
            "quarkus.http.access-log.enabled": "false",
            "quarkus.log.level": "WARN",
            # Without a delay: an id that was given must not be given to another schema after a kill.
            "apicurio.datasource.url": f"jdbc:h2:file:{self.home / 'data' / 'registry'};WRITE_DELAY=0",
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def url_of(port: int) -> str:
    """Return the address for `registry.url` of a registry on loopback."""
    return f"http://127.0.0.1:{port}{_PATH}"


def answers(port: int) -> bool:
    """Return whether a registry on loopback lists its subjects."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this loopback
    try:
        with opener.open(f"{url_of(port)}/subjects", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
