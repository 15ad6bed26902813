"""The rights of this user on the cluster, against those that a role needs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.ops.doctor.case import Case
from agents.ops.doctor.finding import Finding, failed, not_known, ok

RIGHTS: Final = "kafka.rights"
_MANY: Final = 6
_WHY: Final = {
    ("group", "Read"): "it may not join its group: it would wait there for ever, without an error",
    ("topic", "Read"): "its consumer would wait for the first record for ever, without an error",
    ("topic", "Write"): "it could not publish what it has worked out, and would try again for ever",
    ("transactionalId", "Write"): "it could not begin the transaction in which it publishes, and would try for ever",
}


async def look(case: Case, send: Any) -> list[Finding]:
    """Return the rights that the role lacks; without a role, which roles' rights the user has."""
    if case.role is None:
        return await _of_any(case, send)
    grants = case.grants[case.role]
    found = await case.rights(send, grants)
    user, role = case.principal, case.role
    if not found.missing:
        return [ok(RIGHTS, f"{user} has every right that the role {role} needs ({_count(grants)})")]
    if len(found.missing) > _MANY:
        lacks = ", ".join(map(str, found.missing))
        why = f"the {role} cannot do its work; mostly it would wait for ever, without an error"
        return [
            failed(RIGHTS, f"{user} lacks {len(found.missing)} rights of the role {role}: {lacks}", why, _all(case))
        ]
    return [
        failed(
            RIGHTS,
            f"{user} lacks {right}, which the role {role} needs",
            _WHY.get((right.resource, right.operation), f"the {role} cannot do its work"),
            f"{right.command(user)}; or all that the role needs: {_all(case)}",
        )
        for right in found.missing
    ]


async def _of_any(case: Case, send: Any) -> list[Finding]:
    has = [role for role, grants in case.grants.items() if grants and not (await case.rights(send, grants)).missing]
    lacking = [role for role, grants in case.grants.items() if grants and role not in has]
    if not lacking:
        return [ok(RIGHTS, f"{case.principal} has the rights of every role")]
    whose = f"has all rights of {', '.join(has)}" if has else "has all rights of no role"
    return [
        not_known(
            RIGHTS,
            f"{case.principal} {whose}; whether it needs others depends on what it is for",
            f"name its role, one of {', '.join(case.grants)}: `attune doctor --role {lacking[0]}`",
        )
    ]


def _all(case: Case) -> str:
    return (
        f"`attune acls {case.role} --principal '{case.role}={case.principal}' > acls.sh`, then as an administrator "
        "`BOOTSTRAP=broker:9092 sh acls.sh`"
    )


def _count(grants: Sequence[Any]) -> str:
    number = sum(len(grant.operations) for grant in grants)
    return "none" if not number else f"{number} of them"


def may(operations: Mapping[str, frozenset[str]], topic: str, operation: str) -> bool:
    """Tell whether a user may do something with a topic, as far as the brokers say."""
    return operation in operations.get(topic, frozenset())
