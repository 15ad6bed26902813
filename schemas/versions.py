"""The committed Avro schemas: the current one of each name and every version that was ever published.

`schemas/avro/<Name>.avsc` is the current schema, `schemas/avro/history/<Name>/<n>.avsc` are its published
versions, `schemas/avro/ids.yaml` gives each published version its id in the embedded registry. Everything is read
once, at import.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

NAMESPACE: Final = "crm.v1"
FOLDER: Final = Path(__file__).parent / "avro"

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """One published version of a schema.

    `schema_id` is its id in the embedded registry, `fingerprint` the CRC-64-AVRO of its parsing canonical form
    (16 hex digits, least significant byte first, as in Avro's single-object encoding), `sha256` the digest of its
    file, which holds that nobody edits history.
    """

    schema_id: int
    name: str
    number: int
    fingerprint: str
    sha256: str
    schema: Schema

    @property
    def path(self) -> Path:
        """The file that holds it."""
        return history_path(self.name, self.number)


def history_path(name: str, number: int) -> Path:
    """Return the file of a published version; numbers start at 1."""
    return FOLDER / "history" / name / f"{number}.avsc"


def fingerprint_of(schema: Schema) -> str:
    """Return the CRC-64-AVRO fingerprint of a schema, 16 hex digits, least significant byte first."""
    return str(fingerprint(to_parsing_canonical_form(parse_schema(dict(schema))), "CRC-64-AVRO"))


def without_docs(schema: Any) -> Any:
    """Return a schema without its `doc` entries, which may be improved without a new version."""
    if isinstance(schema, Mapping):
        return {key: without_docs(value) for key, value in schema.items() if key != "doc"}
    if isinstance(schema, list):
        return [without_docs(item) for item in schema]
    return schema


def _read_current() -> Mapping[str, Schema]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.avsc"))}


def _read_published() -> tuple[Version, ...]:
    rows = yaml.safe_load((FOLDER / "ids.yaml").read_text())
    return tuple(
        Version(
            schema_id=row["id"],
            name=row["name"],
            number=row["version"],
            fingerprint=row["fingerprint"],
            sha256=row["sha256"],
            schema=json.loads(history_path(row["name"], row["version"]).read_text()),
        )
        for row in rows
    )


CURRENT: Final[Mapping[str, Schema]] = MappingProxyType(dict(_read_current()))
"""The current schema of each name."""

PUBLISHED: Final[tuple[Version, ...]] = _read_published()
"""Every published version, in the order of its id."""

BY_ID: Final[Mapping[int, Version]] = MappingProxyType({version.schema_id: version for version in PUBLISHED})

BY_FINGERPRINT: Final[Mapping[str, Version]] = MappingProxyType({version.fingerprint: version for version in PUBLISHED})

LATEST: Final[Mapping[str, Version]] = MappingProxyType({version.name: version for version in PUBLISHED})
"""The newest published version of each name; its schema equals the current one (a test checks it)."""
