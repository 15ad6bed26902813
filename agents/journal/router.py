"""Interactions -> journal: the customer's own partition, personal data sealed, schema known, origin stamped.

A stateless step.  It decodes only what it must: records that carry a personal block in the clear,
and records of a schema that is not committed in this repository.  All others are copied as bytes.
The fold passes over an origin that it has seen, so a batch that is routed twice counts once.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from schemas import headers as names
from schemas import identity, versions
from schemas.codec import EMBEDDED, Codec
from schemas.errors import ContractError
from schemas.message import Message
from schemas.sealed import Sealed

DEAD_LETTER_KEY = "dead-letters"
"""Key under which dead letters of the interactions topic are sealed: their customer may be unknown."""
_FRAME = 5
_INTERACTION = versions.LATEST["Interaction"].fingerprint
_CONTROL = versions.LATEST["Control"].fingerprint
_MAX_MESSAGE_BYTES = 256_000
_PASSED_ON = frozenset({names.SPECVERSION, names.ID, names.TYPE, names.SOURCE, names.TIME, names.CONTENT_TYPE})


class RouterRefused(ContractError):
    """An interaction that cannot enter the journal; it becomes a dead letter with this reason."""


class Routed(NamedTuple):
    """One record for the journal; the engine takes it as an output."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int


class Vault(Protocol):
    """Keys of customers: fetched for a whole run at once, then used without waiting."""

    async def fetch(self, key_ids: Sequence[str]) -> None:
        """Make the keys of these ids usable, creating those that do not exist; raises when the store is away."""

    def seal(self, key_id: str, plaintext: bytes) -> Sealed:
        """Encrypt under a key that was fetched."""


def encode_personal(personal: dict[str, Any]) -> bytes:
    """Return the bytes of a personal block that are sealed: its fields as JSON, keys sorted."""
    return json.dumps(personal, sort_keys=True, ensure_ascii=False).encode()


@dataclasses.dataclass(slots=True)
class Router:
    """The step of the router, and its preparation.

    `secret` keys the digest of identifiers.  With a remote registry, `connect` returns the codec with
    its ids before anything is read, and `resolve` teaches the codec one id (it raises UnknownSchema,
    which makes a dead letter, or a connection error, which makes the router wait).
    `in_band_clock` says whether this journal's clock comes from watermarks that producers publish.
    """

    journal: str
    partitions: int
    secret: bytes
    codec: Codec
    vault: Vault
    connect: Callable[[], Awaitable[Codec]] | None = None
    resolve: Callable[[Codec, int], Awaitable[None]] | None = None
    in_band_clock: bool = False
    max_message_bytes: int = _MAX_MESSAGE_BYTES
    _unknown: dict[int, str] = dataclasses.field(default_factory=dict)

    async def prepare(self, records: Sequence[Message]) -> None:
        """Fetch the schemas and keys that a run needs; raises when registry or key store is away."""
        if self.connect is not None:
            self.codec = await self.connect()
            self.connect = None
        self._unknown.clear()
        wanted: dict[str, None] = {DEAD_LETTER_KEY: None}
        for record in records:
            await self._learn_schema(record)
            if names.first(record.headers, names.PERSONAL) is not None:
                customer = self._customer_or_none(record)
                if customer is not None:
                    wanted[customer] = None
        await self.vault.fetch(list(wanted))

    def __call__(self, _table: Any, record: Message, /) -> list[Routed]:
        """Return the journal records of one interaction or watermark; raises ContractError for a dead letter."""
        value = record.value
        if value is not None and len(value) > self.max_message_bytes:
            raise RouterRefused(
                f"the message has {len(value)} bytes, more than the {self.max_message_bytes} allowed: "
                f"send large content elsewhere and refer to it"
            )
        if names.first(record.headers, names.TYPE) == names.WATERMARK.encode():
            return self._watermark(record)
        customer = self._customer(record)
        self._raise_if_unknown(value)
        name, fingerprint = self.codec.type_of(value)
        if name != "Interaction":
            raise RouterRefused(f"the value is a {name}; only an Interaction may be published on {record.topic}")
        if names.first(record.headers, names.PERSONAL) is not None:
            value = self._sealed(customer, value)
            fingerprint = _INTERACTION
        elif fingerprint not in versions.BY_FINGERPRINT:
            value = EMBEDDED.encode("Interaction", self.codec.decode(value))
            fingerprint = _INTERACTION
        headers = self._headers(record, b"interaction", fingerprint)
        headers.append((names.SUBJECT, customer.encode()))
        partition = identity.journal_partition(customer, self.partitions)
        return [Routed(self.journal, customer.encode(), value, headers, partition)]

    def _watermark(self, record: Message) -> list[Routed]:
        if not self.in_band_clock:
            raise RouterRefused(
                "this journal's clock is the coordinator's, so producers may not move it; for a backfill or a demo "
                "set ATTUNE_JOURNAL__CLOCK=watermarks on a journal of its own"
            )
        control = self.codec.decode(record.value, "Control")["body"]
        if set(control) != {"time", "partitions"}:
            raise RouterRefused("only a Watermark may be published by a producer, no other control record")
        value = EMBEDDED.encode("Control", {"body": control})
        headers = self._headers(record, b"watermark", _CONTROL)
        return [Routed(self.journal, None, value, headers, partition) for partition in range(self.partitions)]

    def _customer(self, record: Message) -> str:
        return identity.customer_of_key(self.secret, record.key or names.first(record.headers, names.SUBJECT))

    def _customer_or_none(self, record: Message) -> str | None:
        try:
            return self._customer(record)
        except ValueError:
            return None  # the step meets it again and dead-letters it

    def _sealed(self, customer: str, value: bytes | None) -> bytes:
        interaction = self.codec.decode(value)
        personal = interaction["personal"]
        if personal is not None and "ciphertext" not in personal:
            block = self.vault.seal(customer, encode_personal(personal))
            interaction["personal"] = block._asdict()
        return EMBEDDED.encode("Interaction", interaction)

    def _headers(self, record: Message, kind: bytes, fingerprint: str) -> list[tuple[str, bytes]]:
        headers = [header for header in record.headers if header[0] in _PASSED_ON or header[0] == names.TRACEPARENT]
        headers.append((names.KIND, kind))
        headers.append((names.ORIGIN, b"%s/%d/%d" % (record.topic.encode(), record.partition, record.offset)))
        headers.append((names.SCHEMA, fingerprint.encode()))
        return headers

    async def _learn_schema(self, record: Message) -> None:
        value = record.value
        if self.resolve is None or value is None or len(value) < _FRAME or value[0] != 0:
            return
        schema_id = int.from_bytes(value[1:_FRAME], "big")
        if self.codec.knows(schema_id) or schema_id in self._unknown:
            return
        try:
            await self.resolve(self.codec, schema_id)
        except ContractError as error:
            self._unknown[schema_id] = str(error)

    def _raise_if_unknown(self, value: bytes | None) -> None:
        if (
            self._unknown
            and value is not None
            and (reason := self._unknown.get(int.from_bytes(value[1:_FRAME], "big")))
        ):
            raise RouterRefused(reason)
