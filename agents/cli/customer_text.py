"""A customer's profile on a terminal."""

from typing import Any


def print_customer(found: dict[str, Any]) -> None:
    """Print a profile as tables on standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, text in _lines(found):
        table.add_row(f"[bold]{name}[/bold]", escape(text))
    console.print(table)
    for title, rows in (
        ("suppressions in force", found["suppressions"]),
        ("consents", found["consents"]),
        ("actions in flight", found["in_flight"]),
        ("last proposals", found["last_proposals"]),
        ("recent contacts", found["recent_contacts"]),
    ):
        console.print(f"\n[bold]{title}[/bold]" + ("" if rows else ": none"))
        for row in rows:
            console.print("  " + escape(_row(row)))


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    counts, bought, risk, journal = (found[name] for name in ("counts", "purchases", "risk", "journal"))
    channels = ", ".join(f"{count:,} {name}" for name, count in counts["by_channel"].items())
    offers = ", ".join(f"{counts[f'offers_{what}']:,} {what}" for what in ("presented", "accepted", "rejected"))
    churn = "unknown: no model is active, or nothing was bought" if risk["churn"] is None else f"{risk['churn']:.3f}"
    model = risk["model"]
    recency = "never" if bought["last_at"] is None else f"{bought['days_since_last']:.1f} days, {bought['last_at']}"
    lines = [
        ("customer", found["customer"]),
        ("as of", found["as_of"]),
        ("seen", f"{found['first_seen_at']} to {found['last_seen_at']}"),
        ("contacts", f"{counts['events']:,} ({channels}), {counts['duplicates']:,} duplicates"),
        ("recency", recency),
        ("frequency", f"{bought['frequency']:,} purchases"),
        ("money", f"{_money(bought['spend_minor'])} {bought['currency']}".rstrip()),
        ("churn risk", churn + (f" by {model['name']} {model['version']}" if model else "")),
    ]
    if risk["churn"] is not None:
        lines.append(("value at risk", f"{_money(risk['value_at_risk_minor'])} of {_money(risk['value_minor'])}"))
    policy = found["policy"]
    return [
        *lines,
        ("open disputes", ", ".join(found["open_disputes"]) or "none"),
        ("open cases", f"{found['open_cases']:,}"),
        ("complaints", f"{counts['complaints']:,}"),
        ("messages", f"{counts['messages_sent']:,} sent; offers {offers}"),
        ("policy", f"{policy['name']} {policy['version']}" if policy else "none is active"),
        (
            "journal",
            f"partition {journal['partition']} up to {journal['position']:,}, this customer's last record "
            f"{found['journal_offset']:,}, {journal['dead_letters']:,} dead letters passed over",
        ),
    ]


def _money(minor: int) -> str:
    return f"{minor / 100:,.2f}"


def _row(row: dict[str, Any]) -> str:
    """Write one row: its values in their order, named where a value does not speak for itself."""
    parts = []
    for name, value in row.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, dict):
            parts.append(" ".join(f"{key}={item}" for key, item in value.items()))
        elif isinstance(value, list):
            parts.append(f"{name} {', '.join(map(str, value))}")
        elif isinstance(value, bool):
            parts.append(name if value else f"not {name}")
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)
