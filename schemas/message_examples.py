"""The committed examples of messages, `schemas/examples/<Name>.json`.

A payload stands in Avro's JSON encoding: a union's value is wrapped in its type's name, bytes are text of which
each character is a byte. Tools that take Avro as JSON take it as it is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from fastavro import json_reader, parse_schema

from schemas import versions
from schemas.codec import Record, without_logical_types

FOLDER: Final = Path(__file__).parent / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example: what it shows, where it would stand, and its payload in Avro's JSON encoding."""

    schema: str
    name: str
    summary: str
    topic: str
    key: str | None
    headers: Mapping[str, str]
    payload: Any

    def record(self) -> Record:
        """Return the payload as the plain dict that the codec encodes; fastavro's error when it is no such record."""
        parsed = parse_schema(without_logical_types(versions.CURRENT[self.schema]))
        (record,) = json_reader(StringIO(json.dumps(self.payload)), parsed)
        return dict(record)


def load(schema: str) -> Iterator[Example]:
    """Yield the examples of a message, in the order of its file."""
    for found in json.loads((FOLDER / f"{schema}.json").read_text()):
        yield Example(schema=schema, **found)
