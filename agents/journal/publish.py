"""Publishing a document: durable first, then approved; the coordinator turns the approval into activations."""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import Any, Protocol

from schemas import headers as names
from schemas.codec import EMBEDDED, Codec
from schemas.model import read_model
from schemas.policy_reader import read_policy
from schemas.topics import APPROVALS, MODELS, POLICIES
from streams.plan import Plan
from streams.risk import Scorer

TOPIC_OF_KIND = {"policy": POLICIES, "model": MODELS}


class Producer(Protocol):
    """What publishing needs of a producer: aiokafka's, idempotent and started."""

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, headers: Sequence[tuple[str, bytes]]) -> Any:
        """Append one record and wait for its acknowledgement; returns its metadata."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A document that was checked: `kind` is policy or model, `raw` its bytes as written by its author."""

    kind: str
    name: str
    version: str
    raw: bytes

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes: the document's identity."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def key(self) -> bytes:
        """Key in its compacted topic, digest and all: two that race for one version do not replace each other."""
        return f"{self.kind}/{self.name}/{self.version}/{self.sha256}".encode()

    def same_version(self, key: bytes | None) -> bool:
        """Return whether a key of its topic has the same name and version; neither holds a slash."""
        return key is not None and key.split(b"/")[:3] == self.key.split(b"/")[:3]


def check(kind: str, raw: bytes) -> Document:
    """Return the document of bytes; raises InvalidPolicy or InvalidModel with everything that is wrong.

    It is read and made ready as folds do (streams/documents.py), so that what passes here stops none of them.
    """
    if kind == "policy":
        policy = read_policy(raw)
        Plan(policy)
        return Document(kind, policy.name, str(policy.version), raw)
    model = read_model(raw)
    Scorer(model)
    return Document(kind, model.name, str(model.version), raw)


async def publish_document(
    producer: Producer, document: Document, *, approved_by: str, codec: Codec = EMBEDDED, approved_at: int | None = None
) -> int:
    """Write a document, then its approval; return the approval's offset, which is the activation's sequence.

    Both are encoded before the first is sent, so that a name that no record can hold (InvalidRecord) leaves nothing.
    `approved_at` is milliseconds since 1970, by default now.  The caller has checked the document,
    and that no other bytes stand under the same name and version (see `conflict`).
    """
    key, value = approval(
        document.kind,
        document.name,
        document.version,
        document.sha256,
        approved_by=approved_by,
        codec=codec,
        approved_at=approved_at,
    )
    await producer.send_and_wait(
        TOPIC_OF_KIND[document.kind],
        document.raw,
        key=document.key,
        headers=[(names.SHA256, document.sha256.encode())],
    )
    return await _send(producer, key, value)


async def approve(
    producer: Producer,
    kind: str,
    name: str,
    version: str,
    sha256: str,
    *,
    approved_by: str,
    codec: Codec = EMBEDDED,
    approved_at: int | None = None,
) -> int:
    """Approve what is published already, or a version of logic; return the approval's offset."""
    key, value = approval(kind, name, version, sha256, approved_by=approved_by, codec=codec, approved_at=approved_at)
    return await _send(producer, key, value)


def approval(
    kind: str,
    name: str,
    version: str,
    sha256: str,
    *,
    approved_by: str,
    codec: Codec = EMBEDDED,
    approved_at: int | None = None,
) -> tuple[bytes, bytes]:
    """Return key and value of an approval; InvalidRecord for a text that no record can hold."""
    body = {
        "kind": kind.upper(),
        "name": name,
        "version": version,
        "sha256": sha256,
        "sequence": -1,
        "approved_by": approved_by,
        "approved_at": int(time.time() * 1000) if approved_at is None else approved_at,
    }
    value = codec.encode("Control", {"body": body})
    return f"{kind}/{name}".encode(), value


async def _send(producer: Producer, key: bytes, value: bytes) -> int:
    metadata = await producer.send_and_wait(APPROVALS, value, key=key, headers=[])
    return int(metadata.offset)


def conflict(document: Document, records: Sequence[Any]) -> str | None:
    """Return why a document may not be published beside those that exist, or None.

    `records` are all records of its compacted topic.  A document is immutable: the same name and
    version with other bytes is refused; the same bytes again are harmless.
    """
    for record in records:
        if document.same_version(record.key) and record.value is not None:
            digest = hashlib.sha256(record.value).hexdigest()
            if digest != document.sha256:
                return (
                    f"{document.kind} {document.name} version {document.version} exists with other content "
                    f"(sha256 {digest[:12]}…): documents never change, raise the version"
                )
    return None
