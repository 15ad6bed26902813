"""Rights written out: commands for kafka-acls.sh, Strimzi's KafkaUser manifests, plain values for other tools."""

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

from agents.acls import Grant, Resource, Role
from agents.errors import UsageError

USER: Final = "User:"
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_FLAGS: Final = {
    Resource.TOPIC: "--topic",
    Resource.GROUP: "--group",
    Resource.TRANSACTIONAL_ID: "--transactional-id",
}

_HEAD: Final = """\
#!/bin/sh
# The rights of each role on the cluster, least privilege; made by `attune acls`, not to be edited.
#
#   BOOTSTRAP=broker:9092 COMMAND_CONFIG=admin.properties sh acls.sh
#
# COMMAND_CONFIG are the client properties of somebody who may change ACLs; KAFKA_ACLS is the tool, if it has another
# name than kafka-acls.sh. Adding a right that is there changes nothing.
set -eu
allow() {
  "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "${BOOTSTRAP:?host:port of a broker}" \\
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --add --allow-principal "$@"
}
"""


def commands(roles: Iterable[Role], principals: Mapping[str, str]) -> str:
    """Return a POSIX shell script that adds the rights by kafka-acls.sh."""
    return "".join([_HEAD, *(line for role in roles for line in _of_role(role, principals))])


def _of_role(role: Role, principals: Mapping[str, str]) -> Iterator[str]:
    yield f"\n# {role.name}: {role.does}\n"
    if not role.grants:
        yield "# needs no right\n"
    for (_, operations, prefixed), group in itertools.groupby(sorted(role.grants, key=_kind), key=_kind):
        same = list(group)
        words = [f"allow {shlex.quote(principals[role.name])}"]
        words += [f"--operation {operation}" for operation in operations]
        words += ["--resource-pattern-type prefixed"] if prefixed else []
        words += [f"{_FLAGS[grant.resource]} {shlex.quote(grant.name)}" for grant in same]
        yield " \\\n  ".join(words) + "\n"


def _kind(grant: Grant) -> tuple[str, tuple[str, ...], bool]:
    return grant.resource, grant.operations, grant.prefixed


def manifests(roles: Iterable[Role], principals: Mapping[str, str], *, cluster: str) -> str:
    """Return Strimzi's KafkaUser manifests (API v1: Strimzi 0.49 or newer), with SCRAM-SHA-512.

    UsageError where a principal cannot be the name of a user there.
    """
    documents = []
    for role in roles:
        if not role.grants:
            continue
        name = principals[role.name].removeprefix(USER)
        if not _DNS_NAME.match(name):
            raise UsageError(
                f"{principals[role.name]} cannot be a KafkaUser: Strimzi makes the principal from the manifest's name",
                "give a --principal like fold=User:attune-fold: lower-case letters, digits, - and .",
            )
        documents.append(
            {
                "apiVersion": "kafka.strimzi.io/v1",
                "kind": "KafkaUser",
                "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
                "spec": {
                    "authentication": {"type": "scram-sha-512"},
                    "authorization": {"type": "simple", "acls": [_rule(grant) for grant in role.grants]},
                },
            }
        )
    head = "# The rights of each role, least privilege; made by `attune acls --format strimzi`, not to be edited.\n"
    return head + yaml.safe_dump_all(documents, sort_keys=False, width=120)


def _rule(grant: Grant) -> dict[str, Any]:
    pattern = "prefix" if grant.prefixed else "literal"
    return {
        "resource": {"type": grant.resource.value, "name": grant.name, "patternType": pattern},
        "operations": [operation.value for operation in grant.operations],
    }


def plain(roles: Iterable[Role], principals: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one mapping for each right, for scripts: role, principal, resource, name, pattern, operations."""
    return [
        {
            "role": role.name,
            "principal": principals[role.name],
            "resource": grant.resource.value,
            "name": grant.name,
            "pattern": "prefixed" if grant.prefixed else "literal",
            "operations": [operation.value for operation in grant.operations],
        }
        for role in roles
        for grant in role.grants
    ]
