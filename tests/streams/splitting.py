"""A split journal in memory: what `attune journal split` makes of a partition, without a broker, and its fold."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from schemas import headers as names
from schemas.codec import decode, encode, fingerprint_of
from schemas.identity import journal_partition
from schemas.vocabulary import JournalKind
from streams import contacts, growth
from streams.customer import Case, Customer
from streams.errors import BadEvent
from streams.partition import PARTITION_KEY, Partition
from streams.step import Core
from tests.streams.journal import Record, Table

TOPIC = "crm.journal.v1"
_ID = re.compile(rf"{re.escape(TOPIC)}-(\d+)-(\d+)-(\d+)")

Place = tuple[int, int]
"""Partition and offset."""


class Split:
    """Partitions as lists of records, and of each place the one that its record has in the undisturbed journal."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.logs: dict[int, list[Record]] = {number: [] for number in range(partitions)}
        self.first: dict[Place, Place] = {}
        self._now: dict[Place, Place] = {}
        """Of each place in the undisturbed journal the one here, for records of customers."""

    def write(self, record: Record) -> None:
        """Append a record of the undisturbed journal where a router and a coordinator put it now."""
        number, before = record.partition, self.partitions
        if record.key is not None:
            number = journal_partition(record.key.decode(), before)
            self._now[record.partition, record.offset] = number, len(self.logs[number])
            event = decode(record.value)
            if event["decision_id"]:  # whoever answers quotes the id that it has here
                event["decision_id"] = _ID.sub(self._renamed, event["decision_id"])
            self._append(number, record._replace(value=encode("Interaction", event)))
            return
        # A control record goes to every partition; those beyond the first few came from this one.
        for place in range(before):
            if place % len(self._oldest) == number:
                self._append(place, record)

    def _renamed(self, match: re.Match[str]) -> str:
        place = self._now[int(match[1]), int(match[2])]
        return f"{TOPIC}-{place[0]}-{place[1]}-{match[3]}"

    @property
    def _oldest(self) -> Sequence[int]:
        return [number for number in self.logs if not any(growth.is_copied(one) for one in self.logs[number])]

    def _append(self, number: int, record: Record) -> None:
        log = self.logs[number]
        self.first[number, len(log)] = record.partition, record.offset
        log.append(record._replace(partition=number, offset=len(log)))

    def split(self, partitions: int) -> None:
        """Do what the tool does, at once."""
        before, self.partitions = self.partitions, partitions
        for number in range(before):
            log = self.logs[number]
            cut = len(log)
            for target in range(number + before, partitions, before):
                self.logs[target] = copies = []
                for record in log:
                    if record.key is None or growth.home(record.key, partitions, -1) == target:
                        copies.append(_copied(record, target, len(copies)))
                copies.append(_split(target, len(copies), partitions, cut))
            log.append(_split(number, cut, partitions, -1))


def _copied(record: Record, target: int, offset: int) -> Record:
    known = names.first(record.headers, names.COPIED)
    places = () if known is None else names.Copied.parse(known).places
    kept = [header for header in record.headers if header[0] != names.COPIED]
    copied = (names.COPIED, bytes(names.Copied((*places, (record.partition, record.offset)))))
    return record._replace(partition=target, offset=offset, headers=[*kept, copied])


def _split(number: int, offset: int, split_to: int, cut: int) -> Record:
    headers = [(names.KIND, JournalKind.SPLIT.value.encode()), (names.SCHEMA, fingerprint_of("Control").encode())]
    value = encode("Control", {"body": {"split_to": split_to, "cut": cut}})
    return Record(TOPIC, number, offset, 0, None, value, headers)


class Folded:
    """The fold of some partitions: outputs that go out by id, states of customers, states of partitions."""

    def __init__(self, core: Core, logs: Iterable[Sequence[Record]], make: Callable[[], Any] = Table) -> None:
        self.outputs: dict[str, tuple[Any, ...]] = {}
        self.customers: dict[bytes, Customer] = {}
        self.partitions: dict[int, Partition] = {}
        self.refused: list[Place] = []
        for log in logs:
            table = make()
            for record in log:
                self._fold(core, table, record)
            self._take(log[0].partition, table)

    def _fold(self, core: Core, table: Any, record: Record) -> None:
        before = dict(table.rest)
        try:
            outputs = core(table, record)
        except BadEvent:
            table.rest = before
            if not growth.is_copied(record):
                self.refused.append((record.partition, record.offset))
            return
        if not growth.is_copied(record):
            for topic, key, value, headers in outputs:
                self.outputs[dict(headers)["ce_id"].decode()] = (topic, key, decode(value), headers)

    def _take(self, number: int, table: Any) -> None:
        for key in table.present():
            if key == PARTITION_KEY:
                self.partitions[number] = table.get(key)
            elif key not in self.customers or growth.home(key, self._count(table), -1) == number:
                self.customers[key] = table.get(key)

    @staticmethod
    def _count(table: Any) -> int:
        own = table.get(PARTITION_KEY)
        return own.split_to if own is not None and own.split_to else 1

    def as_if_never_split(self, first: dict[Place, Place]) -> tuple[dict[str, Any], dict[bytes, Any]]:
        """Return outputs and customers with places, and ids made of them, as in the undisturbed journal."""

        def renamed(match: re.Match[str]) -> str:
            place = first[int(match[1]), int(match[2])]
            return f"{TOPIC}-{place[0]}-{place[1]}-{match[3]}"

        def plain(value: Any) -> Any:
            if isinstance(value, str):
                return _ID.sub(renamed, value)
            if isinstance(value, bytes):
                return _ID.sub(renamed, value.decode("latin-1")).encode("latin-1")
            if isinstance(value, dict):
                return {plain(key): plain(one) for key, one in value.items()}
            if isinstance(value, list | tuple):
                return [plain(one) for one in value]
            return value

        outputs = {plain(id_): plain(output) for id_, output in self.outputs.items()}
        customers = {}
        for key, customer in self.customers.items():
            whole = msgspec.structs.asdict(customer)
            del whole["offset"]
            whole["cases"] = _ranked(customer.cases)
            whole["recent"] = [msgspec.structs.asdict(contact) for contact in contacts.whole(customer)]
            customers[key] = plain(msgspec.to_builtins(whole, builtin_types=(bytes,)))
        return outputs, customers


def _ranked(cases: dict[str, Case]) -> dict[str, Any]:
    """Return cases with their places as ranks: only their order counts."""
    order = sorted({case.place for case in cases.values()} - {0})
    return {id_: (case.at_ms, case.rank, case.is_dispute, bool(case.place)) for id_, case in cases.items()} | {
        "order": [id_ for place in order for id_, case in cases.items() if case.place == place]
    }
