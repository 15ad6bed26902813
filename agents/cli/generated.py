"""Files that a command generates and the repository keeps: written again, or checked for being stale."""

from collections.abc import Mapping
from pathlib import Path

import typer

from agents.cli import context
from agents.errors import AttuneError, UsageError

FOLDER = Path(__file__).parents[2] / "deploy" / "kafka"
"""Where topics and rights for Kafka are kept."""


def keep(files: Mapping[str, str], folder: Path, *, write: bool, json: bool, again: str) -> None:
    """Write files into a folder, or with `write` false only compare; AttuneError where one is stale and stays so.

    `again` is the command that writes them.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "make it, or name another with --folder")
    stale = [name for name, text in files.items() if _content(folder / name) != text]
    if write:
        for name in stale:
            (folder / name).write_text(files[name], encoding="utf-8")
    if json:
        context.print_json({"folder": str(folder), "stale": stale, "written": write})
    else:
        for name in files:
            now = ("written again" if write else "stale") if name in stale else "up to date"
            typer.echo(f"{folder / name}: {now}")
    if stale and not write:
        raise AttuneError(f"{', '.join(stale)} in {folder} are stale", f"write them again with `{again}`")


def _content(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None
