"""`attune registry`: the contract's schemas against a schema registry."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from agents.cli import connect, context, differences
from agents.errors import AttuneError, UsageError
from agents.settings import variable

app = typer.Typer(no_args_is_help=True, help="Plan, publish and check the contract's schemas in a schema registry.")

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
_NONE = "the registry has every schema of the contract"


@app.command(epilog="Example: `ATTUNE_REGISTRY__URL=https://registry:8081 attune registry plan`")
def plan(*, json: AsJson = False) -> None:
    """Show what `publish` would register or set, and what the registry would refuse. Changes nothing."""
    from agents.ops import registry

    differences.show(_run(registry.compare), json=json, none=f"{_NONE}; nothing to do")


@app.command(epilog="Example: `attune registry publish`, again after each release")
def publish(*, json: AsJson = False) -> None:
    """Register missing schemas under their subjects, BACKWARD_TRANSITIVE. Exit 1 when one is refused or others differ.

    When the registry refuses one schema, none is registered.
    """
    from agents.ops import registry

    done = _run(registry.publish)
    if json:
        context.print_json(
            {
                "applied": differences.plain(done.applied),
                "differences": differences.plain(done.left),
                "ok": not done.left,
            }
        )
    else:
        typer.echo(f"{len(done.applied)} changes made")
        differences.show(done.left, json=False, none=_NONE)
    raise typer.Exit(1 if done.left else 0)


@app.command(epilog="Example: `attune registry check --json` in a deployment's pipeline")
def check(*, json: AsJson = False) -> None:
    """Say which subjects are missing, differ or have another compatibility level. Exit 1 when any does."""
    from agents.ops import registry

    found = _run(registry.compare)
    differences.show(found, json=json, none=_NONE)
    raise typer.Exit(1 if found else 0)


def _run(work: Callable[..., Awaitable[Any]]) -> Any:
    from schemas.catalogue import CATALOGUE
    from schemas.errors import RegistryRefused

    settings = context.load(connect=False)
    client = connect.remote_registry(settings)
    if client is None:
        raise UsageError(
            "registry.url is not set",
            f"set {variable('registry.url')} to a schema registry; `attune local up --registry` starts one here",
        )

    async def with_client() -> Any:
        async with client:
            return await work(client, CATALOGUE.subjects())

    try:
        with connect.explained(settings):
            return asyncio.run(with_client())
    except RegistryRefused as error:
        raise AttuneError(
            str(error), "see `attune registry plan`, and whether the registry's mode and rules let this user register"
        ) from error
