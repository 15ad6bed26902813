"""A broker that lets in who has a password, over TLS, and allows nobody what no ACL allows."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from agents.acls import principals
from agents.platform import process
from agents.platform.kafka import KafkaServer
from agents.settings import KafkaSettings
from tests.agents.clients.test_security import _pkcs8

PASSWORD = "a-password-for-tests"
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefixed": ResourcePatternType.PREFIXED}


@dataclasses.dataclass(frozen=True, slots=True)
class Secured:
    """A cluster with a user for each role; `plain` is the address where tests are administrator."""

    plain: str
    secure: str
    authority: Path

    def settings(self, role: str) -> KafkaSettings:
        """Return how a role reaches it."""
        return KafkaSettings(
            bootstrap=self.secure,
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=f"attune-{role}",
            sasl_password=SecretStr(PASSWORD),
            ssl_cafile=self.authority,
            replication_factor=1,
        )

    def allow(self, acls: list[dict[str, Any]]) -> None:
        """Add rights as `attune acls --json` says them, by a client that is not ours."""
        bindings = [binding for acl in acls for binding in _bindings(acl)]
        admin = self._admin()  # held until its futures are done
        for done in admin.create_acls(bindings).values():
            done.result(30)

    def forbid(self, acls: list[dict[str, Any]]) -> None:
        """Take rights away again."""
        filters = [
            AclBindingFilter(
                one.restype,
                one.name,
                one.resource_pattern_type,
                one.principal,
                one.host,
                one.operation,
                one.permission_type,
            )
            for acl in acls
            for one in _bindings(acl)
        ]
        admin = self._admin()
        for done in admin.delete_acls(filters).values():
            done.result(30)

    def allowed(self, principal: str) -> set[tuple[str, str, str, str]]:
        """Return the rights of a principal: kind, name, pattern, operation."""
        anything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, principal, None, AclOperation.ANY, AclPermissionType.ANY
        )
        kinds = {kind: name for name, kind in _KINDS.items()}
        patterns = {pattern: name for name, pattern in _PATTERNS.items()}
        admin = self._admin()
        return {
            (kinds[one.restype], one.name, patterns[one.resource_pattern_type], one.operation.name)
            for one in admin.describe_acls(anything).result(30)
        }

    def add_users(self) -> None:
        """Add a user with a password for each role that has rights, and one that has none."""
        users = [*(principal.removeprefix("User:") for principal in principals().values()), "attune-nobody"]
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = [UserScramCredentialUpsertion(user, info, PASSWORD.encode()) for user in users]
        admin = self._admin()
        for done in admin.alter_user_scram_credentials(wanted).values():
            done.result(30)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.plain})


def _bindings(acl: dict[str, Any]) -> Iterator[AclBinding]:
    for operation in acl["operations"]:
        yield AclBinding(
            _KINDS[acl["resource"]],
            acl["name"],
            _PATTERNS[acl["pattern"]],
            acl["principal"],
            "*",
            operation_of(operation),
            AclPermissionType.ALLOW,
        )


def operation_of(name: str) -> AclOperation:
    """Return Kafka's operation by its name in our words: `DescribeConfigs` is DESCRIBE_CONFIGS."""
    return AclOperation["".join(f"_{letter}" if letter.isupper() else letter for letter in name).lstrip("_").upper()]


@contextlib.contextmanager
def secured(directory: Path) -> Iterator[Secured]:
    """Run such a broker; only who comes by the listener without TLS, as tests do, is administrator."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    (directory / "ca.pem").write_bytes(authority.cert_pem.bytes())
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    (directory / "keystore.pem").write_bytes(_pkcs8(certificate.private_key_pem.bytes()) + chain)
    port, secure, controller = process.free_port(), process.free_port(), process.free_port()
    addresses = f"PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}"
    server = KafkaServer(
        directory / "kafka",
        overrides={
            "listeners": f"{addresses},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": addresses,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(directory / "keystore.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",
        },
    )
    pid = server.start(port, controller, attached=True)
    try:
        found = Secured(f"127.0.0.1:{port}", f"127.0.0.1:{secure}", directory / "ca.pem")
        found.add_users()
        yield found
    finally:
        process.stop(pid)
