"""A customer at one position of the journal, on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any


def print_as_of(shown: Mapping[str, Any], wanted: str | None) -> None:
    """Print state, explanation and hash; `wanted` is the hash that was to be verified."""
    from rich.console import Console
    from rich.markup import escape

    from agents.cli.customer_text import print_customer

    print_customer({**shown["state"], "journal": shown["journal"]})
    console = Console(soft_wrap=True, highlight=False)
    for title, rows in (
        ("newest decision", list(_decision(shown["decision"]))),
        ("suppressions so far", [_suppression(row) for row in shown["suppressions_so_far"]]),
        ("events that these rest on", [_event(row) for row in shown["evidence"]]),
        ("input", list(_input(shown))),
    ):
        console.print(f"\n[bold]{title}[/bold]" + ("" if rows else ": none"))
        for row in rows:
            console.print("  " + escape(row))
    if wanted is not None:
        said = "[green]verified[/green]" if shown["verified"] else f"[red]not verified[/red]: {wanted} was asked for"
        console.print(f"\n{said}")


def _decision(decision: Mapping[str, Any] | None) -> Iterator[str]:
    if decision is None:
        return
    trigger = decision["trigger"]
    offset = decision["journal"]["offset"]
    yield f"{decision['kind']}, {decision['reason']}, at {decision['decided_at']} (offset {offset:,})"
    yield f"asked for by {trigger['type']} {trigger['event']} of {trigger['occurred_at']}"
    for action in decision["actions"]:
        yield f"{action['action']} by {action['treatment']} on {action['channel']} until {action['valid_until']}"
        factors = action["factors"]
        if factors is not None:
            product = " x ".join(f"{name} {value:g}" for name, value in factors.items())
            yield f"  priority {action['priority']:g} = {product}"
        if action["recalled"] is not None:
            yield f"  recalled at {action['recalled']['at']}: {action['recalled']['reason']}"
    for candidate in decision["candidates"]:
        yield f"candidate {candidate['action_id']}: {candidate['reason']}"
    if decision["churn_risk"] is not None:
        yield f"churn risk {decision['churn_risk']:.3f}, value at risk {decision['value_at_risk_minor'] / 100:,.2f}"
    for kind in ("policy", "model"):
        document = decision[kind]
        if document is not None:
            yield f"{kind} {document['name']} {document['version']}, sha256 {document['sha256']}"


def _suppression(row: Mapping[str, Any]) -> str:
    end = f"until {row['lifted_at']}" if row["lifted_at"] else f"in force, until {row['release_condition']}"
    return f"{row['scope']} since {row['started_at']}, {end}: {row['reason']}, evidence {', '.join(row['evidence'])}"


def _event(row: Mapping[str, Any]) -> str:
    about = f" about {row['reference']}" if row["reference"] else ""
    return (
        f"{row['event']}: {row['type']}{about} at {row['occurred_at']} on {row['channel']} from {row['source']}, "
        f"offset {row['offset']:,} ({row['fate']}): {', '.join(row['is'])}"
    )


def _input(shown: Mapping[str, Any]) -> Iterator[str]:
    source = shown["input"]
    journal = shown["journal"]
    yield f"sha256 {source['sha256']}"
    yield (
        f"{source['records']:,} records of the customer and {source['control_records']:,} control records, "
        f"{len(source['documents'])} active documents, logic {source['logic']}; folded by release {source['release']}"
    )
    yield (
        f"partition {journal['partition']} up to offset {journal['position']:,}, appended at {journal['appended_at']}; "
        f"to get the same again: --offset {journal['position']}"
    )
