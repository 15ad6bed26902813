"""A journal partition in memory with the core behind it: what the tests of streams write to."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from schemas import headers as names
from schemas.codec import decode, encode, fingerprint_of
from schemas.vocabulary import JournalKind
from streams.customer import Customer
from streams.partition import PARTITION_KEY, Partition
from streams.state import STATE_CODEC
from streams.step import Core

ROOT = Path(__file__).parents[2]
PACK = (ROOT / "schemas/packs/retail-thin.yaml").read_bytes()
MODEL = (ROOT / "schemas/models/retail-activity-1.json").read_bytes()

DAY = 86_400_000
START = 1_488_326_400_000
"""2017-03-01."""
SOURCE = "crm.interactions.v1/0"
ANN = hashlib.md5(b"ann").hexdigest()


class Record(NamedTuple):
    """A record of the journal."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Output(NamedTuple):
    """A decoded output with its raw form."""

    topic: str
    body: dict[str, Any]
    raw: tuple[str, bytes, bytes, list[tuple[str, bytes]]]


class Table:
    """States as bytes: every get decodes, every set encodes, so that nothing survives by being the same object."""

    def __init__(self) -> None:
        self.rest: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> Any:
        encoded = self.rest.get(key)
        return None if encoded is None else STATE_CODEC.decode(encoded)

    def set(self, key: bytes, value: Any) -> None:
        self.rest[key] = STATE_CODEC.encode(value)

    def delete(self, key: bytes) -> None:
        self.rest.pop(key, None)

    def present(self) -> list[bytes]:
        return list(self.rest)


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def interaction(type_: str = "page.browsed", **fields: Any) -> dict[str, Any]:
    """Return an interaction with every field."""
    plain: dict[str, Any] = {
        "type": type_,
        "event_id": "",
        "occurred_at": START,
        "channel": "OTHER",
        "source": "test",
        "touchpoint": "",
        "amount_minor": None,
        "currency": "",
        "reference": None,
        "decision_id": None,
        "attributes": {},
        "personal": None,
    }
    plain.update(fields)
    return plain


class Journal:
    """Appends records, folds each at once, keeps everything."""

    def __init__(self, policy: bytes | None = PACK, model: bytes | None = MODEL, partition: int = 0) -> None:
        self.documents: dict[str, bytes] = {}
        self.core = Core(self.documents)
        self.table = Table()
        self.records: list[Record] = []
        self.outputs: list[Output] = []
        self.partition = partition
        self._origin = 0
        for kind, raw in (("POLICY", policy), ("MODEL", model)):
            if raw is not None:
                self.activate(kind, raw)

    def append(
        self, kind: JournalKind, value: bytes | None, key: bytes | None = None, origin: int | None = None, **more: bytes
    ) -> list[Output]:
        """Append a record and fold it; returns its outputs."""
        name = "Interaction" if kind is JournalKind.INTERACTION else "Control"
        headers = [
            (names.KIND, kind.value.encode()),
            (names.SCHEMA, fingerprint_of(name).encode()),
        ]
        if origin is not None:
            headers.append((names.ORIGIN, f"{SOURCE}/{origin}".encode()))
        headers += list(more.items())
        record = Record("crm.journal.v1", self.partition, len(self.records), 0, key, value, headers)
        self.records.append(record)
        return self.fold(record)

    def fold(self, record: Record) -> list[Output]:
        """Fold a record as the engine does; returns its outputs, decoded."""
        outputs = [Output(raw[0], decode(raw[2]), raw) for raw in self.core(self.table, record)]
        self.outputs += outputs
        return outputs

    def interact(self, type_: str, customer: str = ANN, origin: int | None = None, **fields: Any) -> list[Output]:
        """Append an interaction; `origin` repeats one that was copied before."""
        if origin is None:
            origin, self._origin = self._origin, self._origin + 1
        fields.setdefault("event_id", f"e{origin}")
        value = encode("Interaction", interaction(type_, **fields))
        return self.append(JournalKind.INTERACTION, value, customer.encode(), origin)

    def tick(self, time: int) -> list[Output]:
        """Append a tick."""
        return self.append(JournalKind.TICK, encode("Control", {"body": {"time": time}}))

    def watermark(self, source_partition: int, time: int, partitions: int, offset: int) -> list[Output]:
        """Append a watermark that came from one partition of the interactions."""
        origin = f"crm.interactions.v1/{source_partition}/{offset}".encode()
        body = {"time": time, "partitions": partitions}
        return self.append(JournalKind.WATERMARK, encode("Control", {"body": body}), **{names.ORIGIN: origin})

    def activate(self, kind: str, raw: bytes, sequence: int = 0, *, publish: bool = True, version: str = "1") -> None:
        """Publish a document and append its activation."""
        digest = sha256(raw)
        if publish:
            self.documents[digest] = raw
        body = {
            "kind": kind,
            "name": "test",
            "version": version,
            "sha256": digest,
            "sequence": sequence,
            "approved_by": "test",
            "approved_at": 0,
        }
        self.append(JournalKind.ACTIVATION, encode("Control", {"body": body}))

    def customer(self, customer: str = ANN) -> Customer:
        """Return the state of a customer."""
        state = self.table.get(customer.encode())
        assert isinstance(state, Customer)
        return state

    def state(self) -> Partition:
        """Return the partition's own state."""
        state = self.table.get(PARTITION_KEY)
        assert isinstance(state, Partition)
        return state


def kinds(outputs: Iterable[Output]) -> list[str]:
    """Return what each output is: PROPOSED, RECALLED, NO_ACTION, STARTED or LIFTED."""
    return [output.body.get("kind") or output.body["status"] for output in outputs]


def pack(*actions: dict[str, Any], triggers: Iterable[str] = ("purchase.made",)) -> bytes:
    """Return a policy pack of actions that need little said."""
    full = []
    for action in actions:
        id_ = action["id"]
        full.append(
            {
                "issue": "growth",
                "group": "test",
                "class": "marketing",
                "propensity": 0.5,
                "value_minor": 100,
                "validity": "7d",
                "treatments": [{"id": f"{id_}-mail", "channel": "DIRECT_MARKETING"}],
                **action,
            }
        )
    return json.dumps({"name": "test", "version": 1, "triggers": list(triggers), "actions": full}).encode()
