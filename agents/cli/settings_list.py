"""`attune settings`: every setting, its name, its variable, its value and where that comes from."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from agents import settings as own
from agents.addresses import MASK, without_password
from agents.cli import context, printed
from agents.errors import UsageError

app = typer.Typer()


@app.command("settings", epilog="Examples: `attune settings`, `ATTUNE_LOG_LEVEL=DEBUG attune settings --json`")
def settings(*, json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """List every setting with its variable, default and value, and say where the value comes from; secrets masked.

    The environment overrides the file, which overrides the default. It lists them also where one is wrong: exit 2.
    """
    wrong: UsageError | None = None
    loaded: own.Settings | None = None
    try:
        loaded = own.load()
    except UsageError as error:
        wrong = error
    rows = list(_rows(loaded))
    if json:
        context.print_json(
            {"file": str(own.settings_file()), "settings": rows, "error": None if wrong is None else wrong.message}
        )
    else:
        _print(rows)
    if wrong is not None:
        raise UsageError(wrong.message, "correct it; the list shows what was given")


def _rows(loaded: own.Settings | None) -> Iterator[dict[str, Any]]:
    in_environment, in_file = _given()
    for name, field in own.names():
        value, source = field.get_default(call_default_factory=True), "default"
        for given, there in ((in_file, str(own.settings_file())), (in_environment, own.variable(name))):
            if name in given:
                value, source = given[name], there
        if loaded is not None:
            value = _at(loaded, name)
        secret = "SecretStr" in str(field.annotation)
        yield {
            "name": name,
            "variable": own.variable(name),
            "default": _plain(field.get_default(call_default_factory=True)),
            "value": MASK if secret and value is not None else _plain(value),
            "source": source,
            "description": field.description or "",
        }


def _given() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what environment and file say, by dotted name; nothing of a file that is no TOML."""
    import tomllib

    from pydantic_settings import EnvSettingsSource
    from pydantic_settings.exceptions import SettingsError

    try:
        environment = dict(_flat(EnvSettingsSource(own.Settings)()))
    except SettingsError:
        environment = {}
    path = own.settings_file()
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        content = {}
    return environment, dict(_flat(content))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _at(loaded: own.Settings, name: str) -> Any:
    value: Any = loaded
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, str) and "://" in value:
        return without_password(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    if not sys.stdout.isatty():
        for row in rows:
            origin = f"{_source(row)}; default {_shown(row['default'])}; {row['variable']}"
            typer.echo(f"{row['name']} = {_shown(row['value'])}  ({origin})")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("setting", "value", "source", "default", "what it is"):
        table.add_column(title, overflow="fold")
    for row in rows:
        name = f"{row['name']}\n[dim]{row['variable']}[/dim]"
        texts = (_shown(row["value"]), _source(row), _shown(row["default"]), row["description"])
        table.add_row(name, *map(escape, texts))
    printed.table(table)


def _source(row: Mapping[str, Any]) -> str:
    return "environment" if row["source"] == row["variable"] else str(row["source"])


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
