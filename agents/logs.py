"""Logs: text for a person at a terminal, one JSON object a line elsewhere.  Never a customer's data."""

import logging
import sys
import time
from collections.abc import Callable

import structlog


class Calm(logging.Filter):
    """Passes one message of a kind in a while: a client whose broker is away tells so thousands of times a second.

    A kind is a logger and the words of the message before its values are filled in.
    """

    def __init__(self, seconds: float = 5.0, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._now = now
        self._next: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to pass a record; the first after a pause says how many were left out."""
        kind, now = (record.name, str(record.msg)), self._now()
        if now < self._next.get(kind, 0.0):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._next[kind] = now + self._seconds
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more like it)", ()
        return True


def configure(level: str = "INFO") -> None:
    """Send all logs, those of libraries too, through structlog to standard error."""
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel("WARNING" if level == "INFO" else level)
    if level == "INFO":  # that a timer of Faust's came late while much was folded is no news that anybody can use
        logging.getLogger("mode.timers").setLevel("ERROR")
    handler.addFilter(_of_clients(Calm()))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _of_clients(calm: Calm) -> Callable[[logging.LogRecord], bool]:
    """Apply a filter to the messages of Kafka's client alone."""
    return lambda record: not record.name.startswith("aiokafka") or calm.filter(record)
