"""What `attune views` prints on a terminal."""

from typing import Any

_SHOWN = 20


def print_status(found: dict[str, Any]) -> None:
    """Print a line for each partition of each source."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    state = "[red]stale[/red]" if found["stale"] else "[green]fresh[/green]"
    console.print(f"{found['customers']:,} customers, {state}, generation {found['generation']}")
    for reason in found["stale_because"]:
        console.print(f"[red]stale:[/red] {reason}")
    for topic in dict.fromkeys(one["topic"] for one in found["sources"]):
        table = Table(box=None, title=f"\n{topic}", title_justify="left", title_style="bold", padding=(0, 2, 0, 0))
        for name in ("part", "applied", "lag", "journal", "age s"):
            table.add_column(name, justify="right")
        table.add_column("")
        for one in found["sources"]:
            if one["topic"] == topic:
                why = one["stale_because"]
                table.add_row(
                    str(one["partition"]),
                    _number(one["next"]),
                    _number(one["lag"]),
                    _number(one["position"]),
                    "-" if one["age_seconds"] is None else f"{one['age_seconds']:.1f}",
                    "fresh" if why is None else f"[red]stale: {why}[/red]",
                )
        console.print(table)


def print_check(found: dict[str, Any]) -> None:
    """Print what differs, and the verdict."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{found['customers']:,} customers judged, {found['moved_on']:,} of them moved on meanwhile")
    for one in found["differences"][:_SHOWN]:
        console.print(f"[red]differs[/red] {one['part']} of {one['customer']}: {escape(one['says'])}")
    left = len(found["differences"]) - _SHOWN
    if left > 0:
        console.print(f"and {left:,} more")
    if found["differences"]:
        console.print("[red]the views differ from the log[/red]; `attune views rebuild` makes them anew")
    else:
        console.print(f"[green]the views are as the log says[/green] ({found['seconds']:.1f} s)")


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
