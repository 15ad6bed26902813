"""`attune acls`: who may do what on the cluster, from the topology, as other tools want to be told."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agents.cli import context, generated
from agents.errors import UsageError

app = typer.Typer()

KAFKA_FILE = "acls.sh"
STRIMZI_FILE = "users.strimzi.yaml"


class Format(StrEnum):
    """For whom rights are written out."""

    KAFKA = "kafka"
    STRIMZI = "strimzi"
    JSON = "json"


@app.command(
    "acls",
    epilog="Examples: `attune acls`, `attune acls fold views --format strimzi`, "
    "`attune acls --principal fold=User:crm-fold`, `attune acls --write`",
)
def acls(
    role: Annotated[list[str] | None, typer.Argument(help="roles, e.g. fold; every role if none is named")] = None,
    *,
    form: Annotated[
        Format, typer.Option("--format", help="commands for kafka-acls.sh, KafkaUser manifests, or plain values")
    ] = Format.KAFKA,
    principal: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=User:NAME", help="who a role is; default User:attune-ROLE")
    ] = None,
    cluster: Annotated[str, typer.Option(help="the Kafka resource that Strimzi's manifests name")] = "crm",
    write: Annotated[bool, typer.Option("--write", help="put the files of deploy/kafka right")] = False,
    check: Annotated[bool, typer.Option("--check", help="exit 1 when a file of deploy/kafka is stale")] = False,
    folder: Annotated[
        Path, typer.Option(help="where --write and --check look", show_default="deploy/kafka")
    ] = generated.FOLDER,
    json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
) -> None:
    """Print the rights that each role needs on the cluster and no more. Needs no cluster, changes nothing on one."""
    from agents import acl_formats
    from agents.acls import principals, roles

    if write and check:
        raise UsageError("--write and --check exclude each other", "check in a pipeline, write at your desk")
    chosen = principals(_overrides(principal or (), {found.name for found in roles() if found.grants}))
    known = {found.name: found for found in roles()}
    if unknown := sorted(set(role or ()) - set(known)):
        raise UsageError(f"there is no role {unknown[0]}", f"choose from {', '.join(known)}")
    wanted = [found for name, found in known.items() if not role or name in role]
    if write or check:
        if role:
            raise UsageError("the files hold every role", "leave out the names of roles")
        files = {
            KAFKA_FILE: acl_formats.commands(wanted, chosen),
            STRIMZI_FILE: acl_formats.manifests(wanted, chosen, cluster=cluster),
        }
        generated.keep(files, folder, write=write, json=json, again="attune acls --write")
    elif json or form is Format.JSON:
        context.print_json({"acls": acl_formats.plain(wanted, chosen)})
    elif form is Format.STRIMZI:
        typer.echo(acl_formats.manifests(wanted, chosen, cluster=cluster), nl=False)
    else:
        typer.echo(acl_formats.commands(wanted, chosen), nl=False)


def _overrides(given: Iterable[str], known: set[str]) -> dict[str, str]:
    """Read ROLE=User:NAME; UsageError says what is wrong."""
    found = {}
    for text in given:
        role, equals, principal = text.partition("=")
        kind, colon, name = principal.partition(":")
        if not (equals and colon and kind and name):
            raise UsageError(f"--principal {text} is not ROLE=User:NAME", "e.g. --principal fold=User:crm-fold")
        if role not in known:
            raise UsageError(
                f"--principal {text}: no role {role} has rights", f"choose from {', '.join(sorted(known))}"
            )
        found[role] = principal
    return found
