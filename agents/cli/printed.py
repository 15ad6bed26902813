"""Tables on standard output."""

import os
from typing import Any

_WIDE = 10_000


def table(shown: Any) -> None:
    """Print a table as wide as the terminal; into a pipe or a file as wide as it is, nothing in it broken."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_WIDE)
    console.print(shown)
