"""`attune doctor` on a cluster with TLS, passwords and rights: certificates, SASL, what a role's user may do."""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from agents import acl_formats
from agents.acls import Grant, Operation, Resource, principals, roles
from agents.clients import access
from agents.clients import kafka as clients
from agents.errors import AttuneError
from agents.ops import topics as by_catalogue
from agents.settings import KafkaSettings, Settings, variable
from agents.topology import FOLD_GROUP, VIEWS_GROUP
from schemas import topics
from schemas.catalogue import CATALOGUE
from tests.agents.ops.doctor_command import doctor, failures, only, variables
from tests.conftest import Redis
from tests.deploy.secured import PASSWORD, Secured, secured

ACLS = acl_formats.plain(roles(), principals())
ROLES_WITH_RIGHTS = [found.name for found in roles() if found.grants]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Yield a secured broker that has every topic, with a user for each role and the rights of `attune acls`."""
    with secured(tmp_path_factory.mktemp("secured")) as found:
        found.allow(ACLS)
        asyncio.run(_apply(KafkaSettings(bootstrap=found.plain)))
        yield found


async def _apply(kafka: KafkaSettings) -> None:
    admin = clients.admin(kafka)
    try:
        await admin.start()
        await by_catalogue.apply(admin, CATALOGUE, replication=1)
    finally:
        await admin.close()


@pytest.fixture
def here(valkey: Redis, tmp_path: Path) -> Settings:
    """Return the settings of everything but Kafka."""
    return Settings(home=tmp_path, redis={"url": valkey.url})  # type: ignore[arg-type]


def as_user(here: Settings, broker: Secured, role: str, **changes: Any) -> dict[str, str]:
    """Return the variables of a role's user, with some settings of Kafka changed."""
    return variables(here, broker.settings(role).model_copy(update=changes))


@contextlib.contextmanager
def without(broker: Secured, role: str, resource: Resource, name: str) -> Iterator[None]:
    """Take a role's rights on one resource away while the block runs."""
    taken = [acl for acl in ACLS if (acl["role"], acl["resource"], acl["name"]) == (role, resource, name)]
    assert taken
    broker.forbid(taken)
    try:
        yield
    finally:
        broker.allow(taken)


@pytest.mark.kafka
@pytest.mark.parametrize("role", ROLES_WITH_RIGHTS)
def test_with_its_rights_nothing_has_failed_for_any_role(broker: Secured, here: Settings, role: str) -> None:
    """The user of each role has what its role needs, and what it may not see is not known and no failure."""
    found = doctor(as_user(here, broker, role), "--role", role)
    assert failures(found) == {}
    assert f"every right that the role {role} needs" in only(found, "kafka.rights", "ok")["found"]
    assert "SCRAM-SHA-512" in only(found, "kafka.sasl", "ok")["found"]
    assert "valid until" in only(found, "kafka.tls", "ok")["found"]
    (*_, told) = found["topics"]
    if role == "deployer":
        assert told["status"] == "ok"
    else:
        assert told["status"] == "not known"
        assert f"User:attune-{role} may not read the configuration of" in told["found"]


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("role", "resource", "name", "operation", "why"),
    [
        ("fold", Resource.GROUP, FOLD_GROUP, "Read", "wait there for ever"),
        ("fold", Resource.TOPIC, topics.JOURNAL, "Read", "wait for the first record for ever"),
        ("fold", Resource.TOPIC, topics.SUPPRESSIONS, "Write", "could not publish"),
        ("views", Resource.TRANSACTIONAL_ID, f"{VIEWS_GROUP}-", "Write", "transaction"),
        ("exporter", Resource.GROUP, "*", "Describe", "cannot do its work"),
    ],
)
def test_a_missing_right_is_named(
    broker: Secured, here: Settings, role: str, resource: Resource, name: str, operation: str, why: str
) -> None:
    """User, right and what becomes of it are told, and the command that gives the right; others do not mind."""
    option = {"topic": "--topic", "group": "--group", "transactionalId": "--transactional-id"}[resource]
    with without(broker, role, resource, name):
        found = doctor(as_user(here, broker, role), "--role", role)
    told = only(found, "kafka.rights", "failed")
    assert f"User:attune-{role} lacks {operation} on {resource} {name}" in told["found"]
    assert why in told["why"]
    shown = "'*'" if name == "*" else name
    assert f"--allow-principal User:attune-{role} --operation {operation} {option} {shown}" in told["remedy"]
    assert ("--resource-pattern-type prefixed" in told["remedy"]) == (resource is Resource.TRANSACTIONAL_ID)
    assert f"attune acls {role}" in told["remedy"]
    assert set(failures(found)) == {"kafka.rights"}


@pytest.mark.kafka
def test_who_has_no_rights_is_told_at_once(broker: Secured, here: Settings) -> None:
    """Many rights that are missing are one finding; what this user may not see of topics is not known."""
    found = doctor(as_user(here, broker, "nobody"), "--role", "fold")
    told = only(found, "kafka.rights", "failed")
    assert f"Read on group {FOLD_GROUP}" in told["found"]
    assert "attune acls fold --principal 'fold=User:attune-nobody'" in told["remedy"]
    assert f"may not describe {topics.JOURNAL}" in only(found, "topics", "not known")["found"]
    unnamed = only(doctor(as_user(here, broker, "fold")), "kafka.rights", "not known")
    assert "has all rights of fold" in unnamed["found"]
    assert "--role" in unnamed["remedy"]


@pytest.mark.kafka
async def test_a_topic_that_there_is_none_of_is_no_missing_right(broker: Secured) -> None:
    """Before a worker starts it is told apart: a topic that does not exist, and one that it may not read."""
    fold = broker.settings("fold")
    with allowed(broker, "crm.elsewhere.v1"), pytest.raises(AttuneError, match="there is no topic crm") as told:
        await access.check(fold, "fold", [reading(topics.JOURNAL), reading("crm.elsewhere.v1")])
    assert "attune topics apply" in told.value.hint
    with pytest.raises(AttuneError, match=rf"may not read {topics.INTERACTIONS}") as told:
        await access.check(fold, "fold", [reading(topics.INTERACTIONS)])
    assert "attune doctor --role fold" in told.value.hint


def reading(topic: str) -> Grant:
    """Return the right to read a topic."""
    return Grant(Resource.TOPIC, topic, (Operation.READ,))


@contextlib.contextmanager
def allowed(broker: Secured, topic: str) -> Iterator[None]:
    """Let the fold read one more topic while the block runs."""
    acl = {
        "resource": "topic",
        "name": topic,
        "pattern": "literal",
        "principal": "User:attune-fold",
        "operations": ["Read"],
    }
    broker.allow([acl])
    try:
        yield
    finally:
        broker.forbid([acl])


@pytest.mark.kafka
def test_a_wrong_password_is_told(broker: Secured, here: Settings) -> None:
    """User and mechanism are named with the settings to correct; the password is not."""
    wrong = as_user(here, broker, "fold", sasl_password=SecretStr("another-password"))
    found = doctor(wrong, "--role", "fold")
    told = only(found, "kafka.sasl", "failed")
    assert "refused the password of user attune-fold (SCRAM-SHA-512)" in told["found"]
    assert "ATTUNE_KAFKA__SASL_PASSWORD" in told["remedy"]
    assert "another-password" not in str(found)
    assert PASSWORD not in str(found)
    assert only(found, "kafka.bootstrap", "ok")
    assert "since kafka.sasl failed" in only(found, "kafka.rights", "not known")["found"]


@pytest.mark.kafka
def test_a_wrong_mechanism_is_told_with_those_that_are_offered(broker: Secured, here: Settings) -> None:
    """The mechanisms of the broker are named, and the setting that chooses one."""
    told = only(doctor(as_user(here, broker, "fold", sasl_mechanism="PLAIN")), "kafka.sasl", "failed")
    assert "does not offer PLAIN; it offers SCRAM-SHA-512" in told["found"]
    assert "set ATTUNE_KAFKA__SASL_MECHANISM to one of SCRAM-SHA-512" in told["remedy"]


@pytest.mark.kafka
def test_missing_credentials_are_told(broker: Secured, here: Settings) -> None:
    """A listener that wants a password where none is set is told, and one that wants none where one is."""
    none = as_user(here, broker, "fold", security_protocol="SSL", sasl_username=None, sasl_password=None)
    told = only(doctor(none), "kafka.sasl", "failed")
    assert "wants a user and a password (SCRAM-SHA-512), and none is set" in told["found"]
    assert "ATTUNE_KAFKA__SECURITY_PROTOCOL=SASL_SSL" in told["remedy"]
    assert "ATTUNE_KAFKA__SASL_USERNAME" in told["remedy"]
    needless = as_user(here, broker, "fold", security_protocol="SASL_PLAINTEXT", bootstrap=broker.plain)
    told = only(doctor(needless), "kafka.sasl", "failed")
    assert "knows no passwords" in told["found"]
    assert "ATTUNE_KAFKA__SECURITY_PROTOCOL=PLAINTEXT" in told["remedy"]


@pytest.mark.kafka
def test_tls_and_plaintext_are_told_apart(broker: Secured, here: Settings) -> None:
    """Plaintext to a port with TLS, and TLS to a port without: each is named with the setting."""
    plainly = as_user(here, broker, "fold", security_protocol="SASL_PLAINTEXT")
    told = only(doctor(plainly), "kafka.tls", "failed")
    assert "speaks TLS, and ATTUNE_KAFKA__SECURITY_PROTOCOL is SASL_PLAINTEXT" in told["found"]
    assert "set ATTUNE_KAFKA__SECURITY_PROTOCOL=SASL_SSL" in told["remedy"]
    told = only(doctor(as_user(here, broker, "fold", bootstrap=broker.plain)), "kafka.tls", "failed")
    assert "speaks plaintext, and ATTUNE_KAFKA__SECURITY_PROTOCOL is SASL_SSL" in told["found"]
    assert "ATTUNE_KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT" in told["remedy"]


@pytest.mark.kafka
def test_a_foreign_authority_is_told(broker: Secured, here: Settings, tmp_path: Path) -> None:
    """A certificate that is not trusted is told with its issuer and the setting; so is a file that is none."""
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(trustme.CA().cert_pem.bytes())
    found = doctor(as_user(here, broker, "fold", ssl_cafile=foreign))
    told = only(found, "kafka.tls", "failed")
    assert "is not trusted" in told["found"]
    assert "issued by" in told["found"]
    assert "ATTUNE_KAFKA__SSL_CAFILE" in told["remedy"]
    assert str(foreign) in told["remedy"]
    assert "since kafka.tls failed" in only(found, "kafka.sasl", "not known")["found"]
    foreign.write_text("no certificate")
    told = only(doctor(as_user(here, broker, "fold", ssl_cafile=foreign)), "kafka.tls", "failed")
    assert "ATTUNE_KAFKA__SSL_CAFILE" in told["found"]


@dataclasses.dataclass(frozen=True)
class Certified:
    """A port with TLS before a broker's: its address, and the file of its authority."""

    address: str
    authority: Path


@contextlib.asynccontextmanager
async def before(broker: Secured, tmp_path: Path, name: str, *, days: float) -> AsyncIterator[Certified]:
    """Run a server that ends TLS with a certificate of our choice, and passes everything on to the plain listener."""
    authority, now = trustme.CA(), datetime.now(UTC)
    ends = now + timedelta(days=days)
    certificate = authority.issue_cert(name, not_before=now - timedelta(days=400), not_after=ends)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    file = tmp_path / "authority.pem"
    file.write_bytes(authority.cert_pem.bytes())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = broker.plain.split(":")
        there, onward = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, onward), _copy(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield Certified(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", file)
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.1)  # what is still being copied comes to its end


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.transport.abort()


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("name", "days", "status", "says", "remedy"),
    [
        (
            "elsewhere.example",
            365,
            "failed",
            "for another host name (it is for elsewhere.example",
            "subject alternative",
        ),
        ("127.0.0.1", -2, "failed", "expired on 20", "new certificate"),
        ("127.0.0.1", 9, "warning", "expires in 8 days, on 20", "before that"),
    ],
)
async def test_a_certificate_of_another_name_or_time_is_told(
    broker: Secured, here: Settings, tmp_path: Path, name: str, days: float, status: str, says: str, remedy: str
) -> None:
    """Wrong host name, expired, soon to expire: what stands in the certificate is told, and what to do."""
    async with before(broker, tmp_path, name, days=days) as server:
        kafka = KafkaSettings(bootstrap=server.address, security_protocol="SSL", ssl_cafile=server.authority)
        found = await asyncio.to_thread(doctor, variables(here, kafka))
    told = only(found, "kafka.tls", status)
    assert says in told["found"]
    assert remedy in told["remedy"]


def test_a_certificate_of_the_client_that_is_missing_or_foreign_is_told(here: Settings, tmp_path: Path) -> None:
    """A listener that wants one says so only after the handshake, and then closes the connection."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    own = trustme.CA().issue_cert("fold")
    (tmp_path / "own.pem").write_bytes(own.private_key_and_cert_chain_pem.bytes())
    (tmp_path / "authority.pem").write_bytes(authority.cert_pem.bytes())
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, args=(server, context), daemon=True).start()
        kafka = KafkaSettings(
            bootstrap=f"127.0.0.1:{server.getsockname()[1]}",
            security_protocol="SSL",
            ssl_cafile=tmp_path / "authority.pem",
        )
        missing = only(doctor(variables(here, kafka)), "kafka.tls", "failed")
        file = {variable(f"kafka.{name}"): str(tmp_path / "own.pem") for name in ("ssl_certfile", "ssl_keyfile")}
        foreign = only(doctor({**variables(here, kafka), **file}), "kafka.tls", "failed")
        server.shutdown(socket.SHUT_RDWR)
    assert "wants a certificate of this client" in missing["found"]
    assert "ATTUNE_KAFKA__SSL_CERTFILE and ATTUNE_KAFKA__SSL_KEYFILE" in missing["remedy"]
    assert f"refuses the certificate of this client, {tmp_path / 'own.pem'}" in foreign["found"]


def refuse(server: socket.socket, context: ssl.SSLContext) -> None:
    """Shake hands with whoever comes, until the server is shut down."""
    while True:
        try:
            one, _ = server.accept()
        except OSError:
            return
        with one.dup() as kept, contextlib.suppress(OSError):
            with contextlib.suppress(ssl.SSLError):
                context.wrap_socket(one, server_side=True).close()
            while kept.recv(1_000):
                pass  # who closes with something unread resets the connection, and the alert is lost
