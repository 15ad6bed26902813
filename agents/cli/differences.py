"""How what differs from the contract is told: topics from the catalogue, subjects of a registry from the schemas."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import typer

from agents.cli import context


def show(found: Sequence[Any], *, json: bool, none: str) -> None:
    """Print differences, one a line, or `none` where there are none."""
    if json:
        context.print_json({"differences": plain(found), "ok": not found})
        return
    for difference in found:
        typer.echo(str(difference))
    typer.echo(f"{len(found)} differences" if found else none)


def plain(found: Sequence[Any]) -> list[dict[str, Any]]:
    """Return differences as JSON takes them."""
    return [{**dataclasses.asdict(item), "appliable": item.appliable} for item in found]
