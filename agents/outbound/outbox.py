"""A local outbox: one JSON object a line for each delivery, each decision at most once."""

import json
import os
from pathlib import Path
from typing import Any


class Outbox:
    """An append-only file.  What is in it was delivered, also after a restart."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it and its folder; a line that a crash cut off is completed by nobody and dropped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._delivered: set[str] = set()
        kept = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                self._delivered.add(json.loads(line)["decision_id"])
                kept += len(line)
            os.truncate(path, kept)
        self._file = path.open("ab")

    def __contains__(self, decision_id: str) -> bool:
        """Return whether a decision was delivered."""
        return decision_id in self._delivered

    def __len__(self) -> int:
        """Return how many decisions were delivered."""
        return len(self._delivered)

    def deliver(self, deliveries: list[dict[str, Any]]) -> None:
        """Append deliveries (each with its `decision_id`) and wait until they are on disk."""
        for delivery in deliveries:
            self._file.write(json.dumps(delivery, ensure_ascii=False).encode() + b"\n")
            self._delivered.add(delivery["decision_id"])
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
