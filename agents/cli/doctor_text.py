"""What `attune doctor` prints on a terminal: a line for each check, and under what is wrong why and how to mend it."""

from collections.abc import Sequence
from typing import Any

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "not known": "dim"}


def print_findings(found: Sequence[Any]) -> None:
    """Print findings; nothing is cut or broken, so that commands can be copied."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True, highlight=False)
    states, names = (max(len(text) for text in column) for column in (_COLOURS, [one.name for one in found]))
    indent = " " * (states + names + 4)
    for one in found:
        state = f"[{_COLOURS[one.status]}]{one.status.value:<{states}}[/]"
        console.print(f"{state}  [bold]{one.name:<{names}}[/bold]  {escape(one.found)}")
        for label, text in (("why ", one.why), ("mend", one.remedy)):
            if text:
                console.print(f"{indent}[dim]{label}[/dim]  {escape(text)}")
    counts = {state: sum(one.status == state for one in found) for state in _COLOURS}
    console.print(f"\n{', '.join(f'{count} {state}' for state, count in counts.items() if count)}")
