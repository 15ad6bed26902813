"""What schemas.compiled is for: microseconds per record against fastavro, same machine, same run.

`python -m tests.benchmarks.codec` prints one line per message and direction; smallest of many repeats.
"""

import sys
from collections.abc import Callable
from io import BytesIO
from timeit import repeat
from typing import Any

import fastavro

from schemas import codec, message_examples, versions

NUMBER = 500
REPEATS = 60


def microseconds(work: Callable[[], Any]) -> float:
    """Return the smallest time of one call over many repeats, in microseconds."""
    return min(repeat(work, number=NUMBER, repeat=REPEATS)) / NUMBER * 1e6


def measure(name: str) -> dict[str, float]:
    """Return microseconds per record of the first example of a message, for both ways and both libraries."""
    record = next(message_examples.load(name)).record()
    value = codec.encode(name, record)
    schema = fastavro.parse_schema(codec.without_logical_types(versions.CURRENT[name]))
    full = fastavro.parse_schema(dict(versions.CURRENT[name]))

    def fastavro_read(parsed: Any) -> Any:
        stream = BytesIO(value)
        stream.seek(codec.FRAME_LENGTH)
        return fastavro.schemaless_reader(stream, parsed, None)

    def fastavro_write() -> bytes:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, schema, record)
        return stream.getvalue()

    return {
        "decode": microseconds(lambda: codec.decode(value, name)),
        "fastavro decode": microseconds(lambda: fastavro_read(schema)),
        "fastavro decode to datetime": microseconds(lambda: fastavro_read(full)),
        "encode": microseconds(lambda: codec.encode(name, record)),
        "fastavro encode": microseconds(fastavro_write),
    }


def main() -> None:
    """Print the table."""
    for name in ("Interaction", "NextBestAction", "Suppression"):
        figures = "  ".join(f"{what} {took:.2f}" for what, took in measure(name).items())
        sys.stdout.write(f"{name}: {figures}  (us a record)\n")


if __name__ == "__main__":
    main()
