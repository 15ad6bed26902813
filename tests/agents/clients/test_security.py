"""TLS and SASL reach every client: the whole main job against a listener that admits nothing else."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from aiokafka.errors import KafkaError
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from agents.clients import kafka
from agents.platform import jars, process
from agents.platform.kafka import KafkaServer
from agents.settings import KafkaSettings
from tests.conftest import Redis
from tests.faults.main_job import job_on

pytestmark = pytest.mark.kafka

USER, PASSWORD = "attune", "a-password-for-tests"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[KafkaSettings]:
    """Yield settings of a broker whose second listener wants TLS and SCRAM-SHA-512."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    (tmp_path / "keystore.pem").write_bytes(_pkcs8(certificate.private_key_pem.bytes()) + chain)
    port, secure, controller = process.free_port(), process.free_port(), process.free_port()
    server = KafkaServer(
        tmp_path / "kafka",
        overrides={
            "listeners": f"PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(tmp_path / "keystore.pem"),
        },
    )
    pid = server.start(port, controller, attached=True)
    _add_user(port)
    yield KafkaSettings(
        bootstrap=f"127.0.0.1:{secure}",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=USER,
        sasl_password=SecretStr(PASSWORD),
        ssl_cafile=tmp_path / "ca.pem",
        replication_factor=1,
    )
    process.stop(pid)


def _pkcs8(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _add_user(port: int) -> None:
    classes = ":".join(str(jar) for jar in jars.class_path())
    command = [str(jars.java()), "-cp", classes, "kafka.admin.ConfigCommand", "--bootstrap-server", f"127.0.0.1:{port}"]
    command += ["--alter", "--entity-type", "users", "--entity-name", USER]
    command += ["--add-config", f"SCRAM-SHA-512=[password={PASSWORD}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_main_job_runs_over_tls_and_scram(secured: KafkaSettings, valkey: Redis, tmp_path: Path) -> None:
    """Topics, documents, router, fold, coordinator and oracle reach a cluster that wants TLS and a password."""
    async with job_on(secured, valkey.url, tmp_path, seed=11) as job:
        job.start_all()
        async with job.publishing(pace=400):
            await asyncio.sleep(3)
        report = await job.prove()
        assert report["outputs"] > 0
        assert PASSWORD not in job.logs()


@pytest.mark.parametrize(
    "wrong", [{"sasl_password": SecretStr("another")}, {"ssl_cafile": None}], ids=["password", "authority"]
)
async def test_who_does_not_fit_is_kept_out(secured: KafkaSettings, wrong: dict[str, object]) -> None:
    """A wrong password, or a certificate of an unknown authority, is an error and no fallback."""
    producer = kafka.producer(secured.model_copy(update=wrong))
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()
