"""A progress bar on standard error of a terminal, nothing elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator

Told = Callable[[int, int], None]
"""Told how much is done, and how much there is."""


@contextlib.contextmanager
def bar(what: str) -> Iterator[Told | None]:
    """Show a bar while the work goes on; None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
