"""Redis and the topic of states against the log: the journal is folded again, and the views are derived from that.

Nothing of what the agent read is looked at: neither the changelog nor the topics of outputs.  The agent goes on
meanwhile, so what has moved beyond the end of the fold is not judged, and what differs is looked at again for a while.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from agents.view import ACTIONS, STATE, SUPPRESSIONS, Document, Entry, Stored, place
from agents.views.documents import Derive, Derived
from agents.views.runs import OutputRun
from agents.views.statetopic import Last, digest, offset_of
from schemas import headers as names
from schemas import identity, topics

TOPIC: Final = "topic"
CHUNK: Final = 500

_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


class Output(NamedTuple):
    """An output of the recomputation, as a reader of its topic would get it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What differs: `part` of the view (customer, actions, suppressions or topic), whose, and how."""

    part: str
    customer: str
    says: str

    def __str__(self) -> str:
        return f"{self.part} of {self.customer}: {self.says}"


class Standing:
    """What stands after the outputs of a partition, by part, customer and id."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, dict[str, Entry]]] = {ACTIONS: {}, SUPPRESSIONS: {}}

    def take(self, outputs: Iterable[Output]) -> None:
        """Take in outputs, in their order within each topic."""
        runs = {topics.NEXT_BEST_ACTIONS: OutputRun(), topics.SUPPRESSIONS: OutputRun()}
        for output in outputs:
            runs[output.topic].take([output])
        for topic, run in runs.items():
            for write in run.writes(topic):
                stands = self.parts[write.part].setdefault(write.customer, {})
                for entry in write.entries:
                    if entry.document is None:
                        stands.pop(entry.id, None)
                    else:
                        stands[entry.id] = entry

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Forget customers who are not wanted."""
        for part, of_customers in self.parts.items():
            self.parts[part] = {customer: found for customer, found in of_customers.items() if wanted(customer)}


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What the views of one journal partition should be.

    `states` are encoded; `end` is the journal offset behind the last record that was folded.
    """

    partition: int
    end: int
    states: Mapping[str, bytes]
    model: Document | None
    clock_ms: int
    standing: Standing

    @property
    def customers(self) -> list[str]:
        """Everybody of whom there is anything."""
        found = dict.fromkeys(self.states)
        for part in self.standing.parts.values():
            found.update(dict.fromkeys(part))
        return list(found)


class Store(Protocol):
    """Where the views are kept; see agents.clients.viewstore."""

    def customers(self, generation: str) -> AsyncIterator[str]:
        """Yield everybody of whom there is a state."""

    async def everything(self, generation: str, customers: Sequence[str]) -> list[Stored]:
        """Return several customers of one generation."""


class Check:
    """Compares, and remembers what differs; `again` looks only at that once more."""

    def __init__(
        self,
        store: Store,
        generation: str,
        derive: Derive,
        *,
        partition_of: Callable[[str], int],
        kept_since: Mapping[str, str],
    ) -> None:
        """Take the store, and of each part the RFC 3339 time before which its outputs may be gone by retention.

        `partition_of` gives a customer's journal partition.
        """
        self._store = store
        self._generation = generation
        self._derive = derive
        self._partition_of = partition_of
        self._kept_since = kept_since
        self._topic: dict[str, Last] = {}
        """What the topic should say of each customer."""
        self._ends: dict[int, int] = {}
        self._known: set[str] = set()
        self.moved_on: set[str] = set()
        """Customers whose view has moved beyond what was folded."""

    @property
    def judged(self) -> int:
        """How many customers were compared."""
        return len(self._known)

    async def partition(self, expected: Expected) -> list[Difference]:
        """Compare everybody of a partition with Redis."""
        customers = expected.customers
        self._known.update(customers)
        self._ends[expected.partition] = expected.end
        return await self._compare(expected, customers)

    async def again(self, expected: Expected, differences: Sequence[Difference]) -> list[Difference]:
        """Compare those that differed once more."""
        return await self._compare(expected, list(dict.fromkeys(one.customer for one in differences)))

    async def extra(self) -> list[Difference]:
        """Return customers whom only Redis knows, once every partition was compared."""
        found: list[Difference] = []
        unknown = [one async for one in self._store.customers(self._generation) if one not in self._known]
        for start in range(0, len(unknown), CHUNK):
            chunk = unknown[start : start + CHUNK]
            for customer, stored in zip(chunk, await self._store.everything(self._generation, chunk), strict=True):
                if stored.state is not None and self._was_folded(customer, _offset(stored.state)):
                    found.append(Difference(STATE, customer, "the log knows no such customer"))
        return found

    def topic(self, last: Mapping[str, Last]) -> list[Difference]:
        """Compare what the topic says with what it should, once every partition was compared."""
        found = []
        for customer, wanted in self._topic.items():
            there = last.get(customer)
            if there is None:
                found.append(Difference(TOPIC, customer, "it has no record"))
            elif there.digest != wanted.digest and self._was_folded(customer, there.offset):
                says = f"its last record is of journal offset {there.offset}, the fold's of {wanted.offset}"
                same = "its last record is another than the fold gives"
                found.append(Difference(TOPIC, customer, same if there.offset == wanted.offset else says))
        for customer, there in last.items():
            if customer not in self._known and self._was_folded(customer, there.offset):
                found.append(Difference(TOPIC, customer, "the log knows no such customer"))
        return found

    def _was_folded(self, customer: str, offset: int) -> bool:
        return not identity.is_surrogate(customer) or offset < self._ends[self._partition_of(customer)]

    async def _compare(self, expected: Expected, customers: Sequence[str]) -> list[Difference]:
        found: list[Difference] = []
        for start in range(0, len(customers), CHUNK):
            chunk = customers[start : start + CHUNK]
            for customer, stored in zip(chunk, await self._store.everything(self._generation, chunk), strict=True):
                found += self._customer(expected, customer, stored)
        return found

    def _customer(self, expected: Expected, customer: str, stored: Stored) -> list[Difference]:
        found: list[Difference] = []
        encoded = expected.states.get(customer)
        at = place(stored.state_position)[0]
        if stored.state is not None and at == expected.partition and _offset(stored.state) >= expected.end:
            self.moved_on.add(customer)
        elif encoded is not None:
            wanted = self._derived(expected, customer, encoded)
            if stored.state != wanted.write.document:
                found.append(Difference(STATE, customer, _differing(wanted.write.document, stored.state)))
        for part, there, position in (
            (ACTIONS, stored.actions, stored.actions_position),
            (SUPPRESSIONS, stored.suppressions, stored.suppressions_position),
        ):
            partition, offset = place(position)
            if partition != expected.partition or offset < expected.end:
                found += self._entries(expected, part, customer, there)
        return found

    def _derived(self, expected: Expected, customer: str, encoded: bytes) -> Derived:
        derived = self._derive.state(expected.partition, customer.encode(), 0, encoded, expected.model)
        value = derived.message.value
        assert value is not None
        self._topic[customer] = Last(offset_of(value), digest(value))
        return derived

    def _entries(self, expected: Expected, part: str, customer: str, there: Mapping[str, bytes]) -> list[Difference]:
        now = names.rfc3339(expected.clock_ms)
        stands = expected.standing.parts[part].get(customer, {})
        wanted = {id_: entry.document for id_, entry in stands.items() if not _is_over(entry.document, now)}
        found = []
        for id_, document in wanted.items():
            if id_ not in there:
                if not _is_older(document, self._kept_since[part]):
                    found.append(Difference(part, customer, f"{id_} is missing"))
            elif there[id_] != document:
                found.append(Difference(part, customer, f"{id_}: {_differing(document, there[id_])}"))
        found += [
            Difference(part, customer, f"{id_} stands there, the fold gives none")
            for id_, document in there.items()
            if id_ not in stands and not _is_over(document, now)
        ]
        return found


def _is_over(document: bytes | None, now: str) -> bool:
    """Return whether an action is past its validity; a suppression has none."""
    return document is not None and str(_DECODE(document).get("valid_until", "~")) < now


def _is_older(document: bytes | None, since: str) -> bool:
    """Return whether an output is from before a time, so that retention may have taken it from its topic."""
    found = {} if document is None else _DECODE(document)
    return str(found.get("decided_at") or found.get("started_at") or "") < since


def _offset(state: bytes) -> int:
    return int(_DECODE(state)["journal_offset"])


def _differing(wanted: bytes | None, there: bytes | None) -> str:
    """Say which fields of two documents differ."""
    if there is None or wanted is None:
        return "it is missing" if there is None else "there should be none"
    try:
        left, right = _DECODE(wanted), _DECODE(there)
    except msgspec.MsgspecError as error:
        return f"it cannot be read: {error}"
    fields = [
        f"{name} is {_short(right.get(name))}, the fold gives {_short(left.get(name))}"
        for name in {**left, **right}
        if left.get(name) != right.get(name)
    ]
    return "; ".join(fields[:3]) or "it is written otherwise"


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else text[:117] + "..."
