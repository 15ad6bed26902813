"""The hash over what one customer's fold depended on."""

import hashlib

from agents.history.input_hash import COPIED, FOLDED, InputHash
from schemas import headers as names
from streams.partition import Active
from tests.streams.journal import ANN, Record

POLICY = ("POLICY", Active("retail", "1", "ab" * 32, 5))
JOURNAL = "crm.journal.v1"


def record(**changes: object) -> Record:
    headers = [(names.KIND, b"interaction"), (names.TRACEPARENT, b"00-a-b-01")]
    return Record(JOURNAL, 0, 7, 1_000, ANN.encode(), b"value", headers)._replace(**changes)


def digest(*records: Record, fate: str = FOLDED, customer: str = ANN, logic: int = 1) -> str:
    chain = InputHash(JOURNAL, customer)
    for one in records:
        chain.add(one, fate)
    return chain.digest([POLICY], logic)


def test_it_is_what_its_docstring_says() -> None:
    """Recomputed from the description alone: links of length-prefixed fields, chained by SHA-256."""

    def link(head: bytes, *fields: bytes | None) -> bytes:
        content = b"".join(b"\xff" * 8 if field is None else len(field).to_bytes(8, "big") + field for field in fields)
        return hashlib.sha256(head + content).digest()

    head = link(b"", b"attune as-of 1", JOURNAL.encode(), ANN.encode())
    head = link(head, b"0", b"7", ANN.encode(), b"1", b"attune-kind", b"interaction", b"value", b"folded")
    head = link(head, b"0", b"8", None, b"0", None, b"folded")
    head = link(head, b"POLICY", b"retail", b"1", b"ab" * 32)
    head = link(head, b"LOGIC", b"1")
    assert digest(record(), record(offset=8, key=None, value=None, headers=[])) == head.hex()


def test_everything_that_counts_changes_it() -> None:
    """Position, key, value, headers, fate, order, customer, logic; and a field cannot slip into the next one."""
    one, two = record(), record(offset=8)
    found = [
        digest(one),
        digest(one, two),
        digest(two, one),
        digest(record(partition=1)),
        digest(record(key=None)),
        digest(record(key=b"")),
        digest(record(value=b"valuex")),
        digest(record(value=None)),
        digest(record(headers=[])),
        digest(record(headers=[("attune-kin", b"dinteraction")])),
        digest(one, fate=COPIED),
        digest(one, customer="b" * 32),
        digest(one, logic=2),
    ]
    assert len(set(found)) == len(found)


def test_what_is_volatile_does_not() -> None:
    """The trace and the time of the append are about a record's passage; asking twice gives the same."""
    other = record(timestamp=9, headers=[(names.TRACEPARENT, b"00-c-d-01"), (names.KIND, b"interaction")])
    assert digest(other) == digest(record())
    chain = InputHash(JOURNAL, ANN)
    assert chain.digest([POLICY], 1) == chain.digest([POLICY], 1)
