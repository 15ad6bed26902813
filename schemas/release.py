"""`python -m schemas.release` publishes the schemas that changed: a history file and an id for each.

Needs the development dependencies. Refuses a schema that cannot read its whole history. What is published stays:
history files and ids are never changed afterwards.
"""

import hashlib
import sys
from collections.abc import Iterator

from schemas import asyncapi, versions
from schemas.compatibility import against_history


def unpublished() -> Iterator[str]:
    """Yield the names whose current schema differs, beyond its docs, from the newest published version."""
    for name, schema in versions.CURRENT.items():
        newest = versions.LATEST.get(name)
        if newest is None or versions.without_docs(newest.schema) != versions.without_docs(schema):
            yield name


def publish(name: str, schema_id: int) -> str:
    """Write the history file and the row of ids.yaml for the current schema of a name; return the row."""
    newest = versions.LATEST.get(name)
    number = 1 if newest is None else newest.number + 1
    content = (versions.FOLDER / f"{name}.avsc").read_bytes()
    path = versions.history_path(name, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    mark = versions.fingerprint_of(versions.CURRENT[name])
    digest = hashlib.sha256(content).hexdigest()
    row = f'- {{id: {schema_id}, name: {name}, version: {number}, fingerprint: "{mark}", sha256: {digest}}}\n'
    with (versions.FOLDER / "ids.yaml").open("a") as ids:
        ids.write(row)
    return row


def main() -> int:
    """Publish what changed; exit code 1 when a schema is incompatible, and then nothing is written."""
    names = list(unpublished())
    refused = [reason for name in names for reason in against_history(name, versions.CURRENT[name])]
    if refused:
        sys.stderr.write("\n".join(refused) + "\n  next: give new fields a default, add instead of renaming\n")
        return 1
    first = max(versions.BY_ID, default=0) + 1
    for schema_id, name in enumerate(names, first):
        sys.stdout.write(publish(name, schema_id))
    sys.stdout.write(f"{len(names)} schemas published\n")
    if names:
        sys.stdout.write(f"  next: `python -m schemas.asyncapi` writes {asyncapi.FILE.name} anew; commit all of it\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
