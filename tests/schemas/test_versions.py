"""The schemas as a repository: published, immutable, compatible with their whole history, consistent."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest

from schemas import versions
from schemas.compatibility import against_history, incompatibilities
from tests.schemas.strategies import named_types

NAMES = sorted(versions.CURRENT)


@pytest.mark.parametrize("name", NAMES)
def test_the_newest_published_version_is_the_current_schema(name: str) -> None:
    """A change of a schema needs `python -m schemas.release`, which adds a version and an id."""
    assert versions.without_docs(versions.LATEST[name].schema) == versions.without_docs(versions.CURRENT[name])


@pytest.mark.parametrize("version", versions.PUBLISHED, ids=lambda v: f"{v.name}-{v.number}")
def test_history_is_immutable(version: versions.Version) -> None:
    """A published file still has the digest and fingerprint with which it was published."""
    assert hashlib.sha256(version.path.read_bytes()).hexdigest() == version.sha256
    assert versions.fingerprint_of(version.schema) == version.fingerprint


def test_every_history_file_has_an_id_and_every_id_one_file() -> None:
    """Ids are unique, files are numbered without a gap, and none is without the other."""
    assert len(versions.BY_ID) == len(versions.PUBLISHED)
    files = {path.relative_to(versions.FOLDER / "history") for path in versions.FOLDER.glob("history/*/*.avsc")}
    assert files == {Path(v.name) / f"{v.number}.avsc" for v in versions.PUBLISHED}
    for name in NAMES:
        assert [v.number for v in versions.PUBLISHED if v.name == name] == list(
            range(1, versions.LATEST[name].number + 1)
        )


@pytest.mark.parametrize("name", NAMES)
def test_each_schema_reads_its_whole_history(name: str) -> None:
    """BACKWARD_TRANSITIVE, by Apache Avro's checker: topics are replayed from their start."""
    assert list(against_history(name, versions.CURRENT[name])) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s["fields"].append({"name": "more", "type": "string"}), "more"),
        (lambda s: s["fields"][2].update(type="int"), "int not compatible with writer type: long"),
        (lambda s: s["fields"][3]["type"].update(symbols=["OUTLET"], default="OUTLET"), None),
        (lambda s: s["fields"].append({"name": "more", "type": "string", "default": ""}), None),
        (lambda s: s["fields"].pop(), None),
    ],
)
def test_the_checker_finds_what_breaks(change: Any, says: str | None) -> None:
    """A new field without a default and a narrowed type are found; a default, a removal and an enum's default pass."""
    schema = copy.deepcopy(dict(versions.CURRENT["Interaction"]))
    change(schema)
    found = incompatibilities(schema, versions.CURRENT["Interaction"])
    assert (says is None and found == []) or (says is not None and says in found[0])


def test_a_type_that_several_schemas_use_is_the_same_in_all() -> None:
    """Each .avsc stands by itself; what they share has one definition, letter for letter."""
    seen: dict[str, Any] = {}
    for name in NAMES:
        for inner, definition in named_types(versions.CURRENT[name]):
            assert seen.setdefault(inner, definition) == definition, inner
    assert {"Channel", "Trigger", "EncryptedData"} <= set(seen)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_named_as_their_schemas(name: str) -> None:
    """`<Name>.avsc` holds the record crm.v1.<Name>, and every field says what it is."""
    schema = versions.CURRENT[name]
    assert (schema["name"], schema["namespace"], schema["type"]) == (name, versions.NAMESPACE, "record")
    assert schema["doc"]
    assert all(field["doc"] for field in schema["fields"])
