"""Interactions -> journal: the customer's own partition, personal data sealed, schema known, origin stamped.

A stateless step.  It decodes only what it must: records that carry a personal block, whether their header says so or
not, records of a schema that is not the committed one, and what is garbled, since that may hold a block.  All others
are copied as bytes.  The fold passes over an origin that it has seen, so a batch that is routed twice counts once.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from schemas import deadletter, identity, personal, versions
from schemas import headers as names
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
_WATERMARK = names.WATERMARK.encode()


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


def encode_personal(block: dict[str, Any]) -> bytes:
    """Return the bytes of a personal block that are sealed: its fields as JSON, keys sorted."""
    return json.dumps(block, sort_keys=True, ensure_ascii=False).encode()


class _Run(NamedTuple):
    """The last run of a partition that was prepared, and the offsets in it that are not surely without a block."""

    first: int
    last: int
    suspects: frozenset[int]


@dataclasses.dataclass(slots=True)
class Router:
    """The step of the router, and its preparation.

    `secret` keys the digest of identifiers.  With a remote registry, `connect` returns the codec with
    its ids before anything is read, and `resolve` teaches the codec one id (it raises UnknownSchema,
    which makes a dead letter, or a connection error, which makes the router wait).
    `in_band_clock` says whether this journal's clock comes from watermarks that producers publish.
    `max_message_bytes` bounds key, value and headers together.
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
    _runs: dict[int, _Run] = dataclasses.field(default_factory=dict)

    async def prepare(self, records: Sequence[Message]) -> None:
        """Fetch the schemas and keys that a run needs; raises when registry or key store is away."""
        if self.connect is not None:
            self.codec = await self.connect()
            self.connect = None
        self._unknown.clear()
        wanted: dict[str, None] = {DEAD_LETTER_KEY: None}
        suspects: set[int] = set()
        for record in records:
            await self._learn_schema(record)
            if not self._surely_without_block(record):
                suspects.add(record.offset)
                customer = self._customer_to_seal_for(record)
                if customer is not None:
                    wanted[customer] = None
        if records:
            run = _Run(records[0].offset, records[-1].offset, frozenset(suspects))
            self._runs[records[0].partition] = run
        await self.vault.fetch(list(wanted))

    def __call__(self, _table: Any, record: Message, /) -> list[Routed]:
        """Return the journal records of one interaction or watermark; raises ContractError for a dead letter."""
        value = record.value
        self._raise_if_too_large(record)
        passed_on = names.passed_on(record.headers)
        if names.first(record.headers, names.TYPE) == _WATERMARK:
            return self._watermark(record, passed_on)
        customer = self._customer(record)
        self._raise_if_unknown(value)
        name, fingerprint = self.codec.type_of(value)
        if name != "Interaction":
            raise RouterRefused(f"the value is a {name}; only an Interaction may be published on {record.topic}")
        if self._is_suspect(record):
            fields = self.codec.decode(value)
            if personal.is_clear(fields[personal.FIELD]):
                block = self.vault.seal(customer, encode_personal(fields[personal.FIELD]))
                fields[personal.FIELD] = block._asdict()
                anew = True
            else:
                anew = fingerprint not in versions.BY_FINGERPRINT or _is_marked(record)
            if anew:
                value = EMBEDDED.encode("Interaction", fields)
                fingerprint = _INTERACTION
        headers = _stamped(record, passed_on, b"interaction", fingerprint)
        headers.append((names.SUBJECT, customer.encode()))
        partition = identity.journal_partition(customer, self.partitions)
        return [Routed(self.journal, customer.encode(), value, headers, partition)]

    def _watermark(self, record: Message, passed_on: names.Headers) -> list[Routed]:
        if not self.in_band_clock:
            raise RouterRefused(
                "this journal's clock is the coordinator's, so producers may not move it; for a backfill or a demo "
                "set ATTUNE_JOURNAL__CLOCK=watermarks on a journal of its own"
            )
        control = self.codec.decode(record.value, "Control")["body"]
        if set(control) != {"time", "partitions"}:
            raise RouterRefused("only a Watermark may be published by a producer, no other control record")
        value = EMBEDDED.encode("Control", {"body": control})
        headers = _stamped(record, passed_on, b"watermark", _CONTROL)
        return [Routed(self.journal, None, value, headers, partition) for partition in range(self.partitions)]

    def _customer(self, record: Message) -> str:
        return identity.customer_of_key(self.secret, record.key or names.first(record.headers, names.SUBJECT))

    def _raise_if_too_large(self, record: Message) -> None:
        in_headers = names.size_of(record.headers)
        size = len(record.key or b"") + len(record.value or b"") + in_headers
        if size > self.max_message_bytes:
            size -= names.size_of(deadletter.returns(record.headers))  # ours: a record must not grow by its returns
            if size > self.max_message_bytes:
                raise RouterRefused(
                    f"key, value and headers have {size} bytes, more than the {self.max_message_bytes} allowed: "
                    f"send large content elsewhere and refer to it"
                )
        if in_headers > names.LONGEST:
            for name, content in names.passed_on(record.headers):
                if len(content) > names.LONGEST:
                    raise RouterRefused(
                        f"header {name} has {len(content)} bytes, more than the {names.LONGEST} allowed"
                    )

    def _is_suspect(self, record: Message) -> bool:
        """Tell whether a record must be decoded; what `prepare` found out is not found out again."""
        run = self._runs.get(record.partition)
        if run is not None and run.first <= record.offset <= run.last:
            return record.offset in run.suspects
        return not self._surely_without_block(record)

    def _surely_without_block(self, record: Message) -> bool:
        value = record.value
        if value is None or _is_marked(record):
            return False
        try:
            _, fingerprint = self.codec.type_of(value)
        except ContractError:
            return False
        return personal.surely_absent(value, fingerprint)

    def _customer_to_seal_for(self, record: Message) -> str | None:
        """Return whose key the step will want for a record, or None for nobody's."""
        value = record.value
        if value is None or len(value) > self.max_message_bytes:
            return None
        try:
            customer = self._customer(record)
            if _is_marked(record):
                return customer
            name, _ = self.codec.type_of(value)
            block = self.codec.decode(value)[personal.FIELD] if name == "Interaction" else None
        except ValueError:
            return None  # the step meets it again and dead-letters it
        return customer if personal.is_clear(block) else None

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


def _is_marked(record: Message) -> bool:
    return names.first(record.headers, names.PERSONAL) is not None


def _stamped(record: Message, passed_on: names.Headers, kind: bytes, fingerprint: str) -> names.Headers:
    return [
        *passed_on,
        (names.KIND, kind),
        (names.ORIGIN, b"%s/%d/%d" % (record.topic.encode(), record.partition, record.offset)),
        (names.SCHEMA, fingerprint.encode()),
    ]
