"""The one entry: a record of the journal in, changed state and outputs out.

Nothing else is looked at: no clock, no other topic, no setting. Live work, replay, what-if and tests call this.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from schemas import headers as names
from schemas.codec import decode_by_fingerprint
from schemas.errors import ContractError
from schemas.message import Message
from schemas.vocabulary import DocumentKind, JournalKind, ReasonCode
from streams import aggregates, clock, contacts, growth, logic, made, recheck, suppression
from streams.customer import Customer
from streams.decision import decide
from streams.documents import Documents
from streams.emit import NO_ACTION, Outbox, Output
from streams.errors import BadEvent, NewerLogic
from streams.fold import DECLARED, HANDLERS, WORDS
from streams.meaning import Changed, Event, as_heard
from streams.partition import PARTITION_KEY, Active, Partition
from streams.plan import Plan, reference
from streams.situation import Situation

INTERACTION: Final = JournalKind.INTERACTION.value.encode()
WATERMARK: Final = JournalKind.WATERMARK.value.encode()
TICK: Final = JournalKind.TICK.value.encode()
ACTIVATION: Final = JournalKind.ACTIVATION.value.encode()
SPLIT: Final = JournalKind.SPLIT.value.encode()

_CLOCKS: Final = (TICK, WATERMARK)
"""Records at which states of customers who have moved are deleted."""

SURROGATE_LENGTH: Final = 32
UNDECLARED_TYPES: Final = 100
"""So many undeclared types are counted by name, the rest together under the empty name."""
LONGEST_VERSION: Final = 9
"""Digits of a version of logic."""
COUNTED_NAME: Final = 64
"""So many characters of such a name count; types that begin alike are counted together."""


class Table(Protocol):
    """States by key. `get` may hand out the live object; `set` after a change in place makes it written."""

    def get(self, key: bytes, /) -> Any:
        """Return the state of a key, or None."""

    def set(self, key: bytes, value: Any, /) -> None:
        """Make `value` the state of a key."""

    def delete(self, key: bytes, /) -> None:
        """Remove the state of a key."""

    def present(self) -> Iterable[bytes]:
        """Return every key that has a state now, in any order."""


class Core:
    """The pure step. It holds nothing but documents made ready, by their digest."""

    newest_logic = logic.NEWEST
    """The newest version of behaviour that this core knows."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        """Take documents by SHA-256 in hex; the mapping may fill up while records are folded."""
        self._documents = Documents(documents)

    def __call__(self, table: Table, record: Message) -> list[Output]:
        """Fold one record into the table and return its outputs.

        Raises BadEvent for a record that must not change anything, DocumentMissing (`retry_later`) while an
        active document is not in `documents`, NewerLogic (the same) while only a newer release knows how to go on,
        and schema errors for a value that cannot be decoded.
        """
        headers = dict(record.headers)
        kind = headers.get(names.KIND)
        partition = table.get(PARTITION_KEY)
        if partition is None:
            partition = Partition()
        if partition.logic > self.newest_logic:
            raise self._newer_logic(partition.logic)
        copied = headers.get(names.COPIED)
        place = None
        if copied is not None:
            place = growth.original(copied)
            if not partition.copying and not partition.split_to:  # copies that land late do not begin it anew
                partition.copying = True
                table.set(PARTITION_KEY, partition)
        if kind == INTERACTION:
            return self._interaction(table, record, partition, headers, place)
        if self._control(record, kind, headers, partition, place):
            table.set(PARTITION_KEY, partition)
        if not growth.is_swept(partition) and kind in _CLOCKS:
            growth.sweep(table, partition, record.partition)
            table.set(PARTITION_KEY, partition)
        return []

    def _control(
        self,
        record: Message,
        kind: bytes | None,
        headers: dict[str, bytes],
        partition: Partition,
        place: tuple[int, int] | None,
    ) -> bool:
        """Fold a control record; returns whether it has changed what the partition remembers."""
        if kind == WATERMARK:
            return _watermark(record, headers, partition)
        if kind not in (TICK, ACTIVATION, SPLIT):
            raise BadEvent(f"header {names.KIND} is {kind!r}; only Attune's router and coordinator write here")
        body = _decode(headers, record.value, "Control")["body"]
        if kind == TICK:
            _expect(body, "time")
            return clock.tick(partition, body["time"])
        if kind == ACTIVATION:
            _expect(body, "sequence")
            return self._activate(partition, body)
        _expect(body, "split_to")
        offset = record.offset if place is None else place[1]
        return growth.split(partition, body, offset, copied=place is not None)

    def _interaction(
        self,
        table: Table,
        record: Message,
        partition: Partition,
        headers: dict[str, bytes],
        place: tuple[int, int] | None,
    ) -> list[Output]:
        origin, offset = _origin(headers)
        if offset <= partition.marks.get(origin, -1):
            return []
        event = _decode(headers, record.value, "Interaction")
        key = record.key
        if key is None or len(key) != SURROGATE_LENGTH:
            raise BadEvent("the record's key is no surrogate of 32 hex characters; only the router writes here")
        if partition.split_to and place is None:
            growth.raise_if_elsewhere(partition, key, record.partition)
        contacts.check(event)
        now_ms = clock.now(partition, event["occurred_at"], origin)
        plan = self._documents.plan(partition.policy)
        scorer = self._documents.scorer(partition.model)
        known_as = contacts.identity(event)
        customer = table.get(key)
        if customer is None:
            customer = Customer()
        elif known_as in customer.recent_ids:
            customer.duplicates += 1
            customer.offset = record.offset
            return _done(table, record, partition, (origin, offset), customer, [])
        kind = event["type"]
        handler = HANDLERS.get(kind)
        changed: Changed | None = None
        if handler is not None:
            word: Event = event
            if now_ms > partition.clock_ms and kind in WORDS:
                offset_first = record.offset if place is None else place[1]
                word = as_heard(event, clock.newest(partition), offset_first + partition.place_base)
            changed = handler(customer, word)
        if kind in DECLARED:
            aggregates.note(customer, event)
        else:
            _count_undeclared(partition, kind)
        contacts.note(customer, event, known_as)
        outputs: list[Output] = []
        if changed is not None or (plan is not None and kind in plan.triggers):
            outbox = Outbox(record, event, now_ms, headers.get(names.TRACEPARENT), place)
            situation = Situation(customer, event, now_ms, scorer)
            outputs = _consequences(partition, situation, changed, plan, outbox)
        return _done(table, record, partition, (origin, offset), customer, outputs)

    def _activate(self, partition: Partition, body: Mapping[str, Any]) -> bool:
        if body["kind"] == DocumentKind.LOGIC.value:
            return self._activate_logic(partition, body["version"], body["sequence"])
        if body["kind"] == DocumentKind.JOURNAL.value:
            raise BadEvent("the number of partitions is approved, not activated; `attune journal split` does it")
        active = Active(body["name"], body["version"], body["sha256"], body["sequence"])
        is_policy = body["kind"] == DocumentKind.POLICY.value
        current = partition.policy if is_policy else partition.model
        if current is not None and active.sequence <= current.sequence:
            return False
        # The coordinator has read the document: if this release cannot, partitions of two releases must not part ways.
        if is_policy:
            self._documents.plan(active)
            partition.policy = active
        else:
            self._documents.scorer(active)
            partition.model = active
        return True

    def _activate_logic(self, partition: Partition, version: str, sequence: int) -> bool:
        if sequence <= partition.logic_sequence:
            return False
        if not version.isdecimal() or len(version) > LONGEST_VERSION or int(version) < logic.FIRST:
            raise BadEvent(f"{version[:20]!r} is no version of logic; `attune logic activate` writes such records")
        if int(version) > self.newest_logic:
            raise self._newer_logic(int(version))
        partition.logic, partition.logic_sequence = int(version), sequence
        return True

    def _newer_logic(self, version: int) -> NewerLogic:
        return NewerLogic(
            f"the journal has activated logic {version} and this release knows up to {self.newest_logic}; "
            "start a newer release, the partition waits for it"
        )


def _watermark(record: Message, headers: dict[str, bytes], partition: Partition) -> bool:
    origin = _origin(headers)
    if not _is_new(partition, origin):
        return False
    body = _decode(headers, record.value, "Control")["body"]
    _expect(body, "partitions")
    clock.watermark(partition, origin[0], body["time"], body["partitions"])
    partition.marks[origin[0]] = origin[1]
    return True


def _consequences(
    partition: Partition, situation: Situation, changed: Changed | None, plan: Plan | None, outbox: Outbox
) -> list[Output]:
    """Settle what changed, then decide if the event asks for it or a suppression was lifted."""
    customer, event = situation.customer, situation.event
    if customer.queue:
        made.expire(customer, situation.now_ms)
    lifted = False
    if changed is Changed.CASES:
        lifted = suppression.settle(customer, event, outbox)
    elif changed is Changed.CONSENT:
        suppression.recall_without_consent(customer, outbox)
    if plan is None:
        if lifted:
            outbox.decision(NO_ACTION, ReasonCode.NO_POLICY.value)
        return outbox.outputs
    plan.begin(situation)
    asked = plan.asks(event["type"]) or lifted
    if customer.queue:
        recheck.waiting(plan, customer, outbox)
    if asked:
        documents = {"policy": reference(partition.policy), "model": reference(partition.model)}
        decide(plan, situation, documents, outbox)
    return outbox.outputs


def _done(
    table: Table,
    record: Message,
    partition: Partition,
    origin: tuple[str, int],
    customer: Customer,
    outputs: list[Output],
) -> list[Output]:
    assert record.key is not None
    customer.offset = record.offset
    partition.marks[origin[0]] = origin[1]
    table.set(record.key, customer)
    table.set(PARTITION_KEY, partition)
    return outputs


def _origin(headers: dict[str, bytes]) -> tuple[str, int]:
    """Return `<topic>/<partition>` and the offset that the record was copied from."""
    value = headers.get(names.ORIGIN, b"")
    source, slash, offset = value.rpartition(b"/")
    if not slash or not offset.isdigit():
        raise BadEvent(f"header {names.ORIGIN} is {value[:100]!r}, expected <topic>/<partition>/<offset>")
    return source.decode(), int(offset)


def _is_new(partition: Partition, origin: tuple[str, int]) -> bool:
    return origin[1] > partition.marks.get(origin[0], -1)


def _decode(headers: dict[str, bytes], value: bytes | None, name: str) -> dict[str, Any]:
    try:
        return decode_by_fingerprint(headers.get(names.SCHEMA, b"").decode("ascii", "replace"), value, name)
    except ContractError as error:
        raise BadEvent(str(error)) from error


def _expect(body: Mapping[str, Any], field: str) -> None:
    if field not in body:
        raise BadEvent(f"the control record has no {field}: its body is not what header {names.KIND} says")


def _count_undeclared(partition: Partition, kind: str) -> None:
    counts = partition.undeclared
    name = kind[:COUNTED_NAME]
    if name not in counts and len(counts) >= UNDECLARED_TYPES:
        name = ""
    counts[name] = counts.get(name, 0) + 1
