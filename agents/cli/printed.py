"""Tables on standard output."""

import os
import sys
from typing import Any

_WIDE = 10_000


def table(shown: Any) -> None:
    """Print a table as wide as the terminal; into a pipe or a file as wide as it is, nothing in it broken."""
    from rich.console import Console

    told = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    (Console() if told else Console(width=_WIDE)).print(shown)
