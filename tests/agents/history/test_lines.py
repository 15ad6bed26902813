"""Lines and containers of what a replay gives out."""

import io
import json

import fastavro

from agents.history import container
from agents.history.lines import lines
from agents.history.refold import ITSELF, Emitted
from agents.history.selection import What
from schemas import headers as names
from schemas import topics
from schemas.codec import encode, fingerprint_of
from tests.streams.journal import interaction

EVENT = interaction("purchase.made", event_id="e1", amount_minor=5, currency="EUR")
HEADERS = [(names.KIND, b"interaction"), (names.SCHEMA, fingerprint_of("Interaction").encode()), ("odd", b"\xff")]


def emitted(value: bytes | None) -> Emitted:
    return Emitted(What.INTERACTIONS, topics.JOURNAL, 2, 17, ITSELF, 1_769_850_900_250, b"k", value, HEADERS)


def test_a_line_holds_the_record_decoded() -> None:
    """Place, append time, key, headers and value; bytes that are no text are escaped."""
    (line,) = lines([emitted(encode("Interaction", EVENT))]).splitlines()
    found = json.loads(line)
    assert found.pop("value") == EVENT
    assert found == {
        "what": "interaction",
        "partition": 2,
        "offset": 17,
        "index": None,
        "appended_at": "2026-01-31T09:15:00.250Z",
        "topic": topics.JOURNAL,
        "key": "k",
        "headers": {"attune-kind": "interaction", "attune-schema": fingerprint_of("Interaction"), "odd": "\\xff"},
    }


def test_a_sealed_block_is_base64_and_an_unreadable_value_says_why() -> None:
    """Neither ends the replay."""
    sealed = {"key_id": "k1", "nonce": b"\0" * 12, "ciphertext": b"abc"}
    first, second = lines([emitted(encode("Interaction", {**EVENT, "personal": sealed})), emitted(b"{}")]).splitlines()
    assert json.loads(first)["value"]["personal"] == {"key_id": "k1", "nonce": "A" * 16, "ciphertext": "YWJj"}
    assert json.loads(second)["value"] is None
    assert "too few" in json.loads(second)["unreadable"]


def test_a_container_is_its_head_and_any_blocks() -> None:
    """fastavro reads them one after the other, null values and headers too; an empty block is nothing."""
    marker = container.sync_marker(b"request")
    odd = emitted(None)._replace(headers=[("none", None)])  # type: ignore[list-item]
    blocks = [[emitted(b"a"), odd], [], [emitted(b"b")]]
    content = container.head(marker) + b"".join(container.block(block, marker) for block in blocks)
    rows = list(fastavro.reader(io.BytesIO(content)))
    assert [row["value"] for row in rows] == [b"a", None, b"b"]
    assert rows[1]["headers"] == [{"name": "none", "value": None}]
    assert (rows[0]["what"], rows[0]["partition"], rows[0]["offset"], rows[0]["index"]) == ("interactions", 2, 17, -1)
