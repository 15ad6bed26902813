"""Whether a schema may follow its predecessors: BACKWARD_TRANSITIVE, by Apache Avro's own checker.

Needs the development dependency `avro`; only tests and `python -m schemas.release` import it.
"""

import json
from collections.abc import Iterator

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

from schemas.versions import PUBLISHED, Schema


def incompatibilities(reader: Schema, writer: Schema) -> list[str]:
    """Return why `reader` cannot read what `writer` wrote, each with the place; empty when it can."""
    checked = ReaderWriterCompatibilityChecker().get_compatibility(parse(json.dumps(reader)), parse(json.dumps(writer)))
    if checked.compatibility is SchemaCompatibilityType.compatible:
        return []
    places = sorted(checked.locations) or ["/"]
    return [f"{', '.join(places)}: {message}" for message in sorted(checked.messages)]


def against_history(name: str, schema: Schema) -> Iterator[str]:
    """Yield why a schema cannot read some published version of its name."""
    for version in PUBLISHED:
        if version.name == name:
            for found in incompatibilities(schema, version.schema):
                yield f"{name} cannot read version {version.number}: {found}"
