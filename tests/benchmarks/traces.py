"""Where a contender leaves how far it is and its states: what the contest asks, and what it judges.

All write their outputs to the same topic.  States lie where each keeps what it restores from, and are read back
from there: a changelog topic, or the files of a store.
"""

import dataclasses
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol

from agents.engine import changelog
from tests.benchmarks import loop
from tests.benchmarks.assignment import Assignment
from tests.benchmarks.cluster import Cluster

NO_STATE = (*changelog.OWN, loop.POSITION_KEY)
"""Keys of the changelogs that hold no states begin so."""
_TABLES = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('fronts', 'snaps')"


class Traces(Protocol):
    """Of one kind of contender."""

    async def progress(self, cluster: Cluster, assignment: Assignment) -> dict[int, int]:
        """Return the offset of each partition of the source from which a restart would go on."""

    async def states(self, cluster: Cluster, assignment: Assignment) -> tuple[dict[bytes, bytes], int]:
        """Return the encoded states by key as a restart would find them, and how many records hold them."""

    def topic(self, assignment: Assignment) -> str | None:
        """Return the topic that holds the states, if one does."""


@dataclasses.dataclass(frozen=True)
class InKafka:
    """A group's committed offsets, and a changelog topic `named` by group and source, whose keys have an `ending`."""

    named: str = "{group}-states-changelog"
    ending: bytes = b""

    async def progress(self, cluster: Cluster, assignment: Assignment) -> dict[int, int]:
        return await cluster.committed(assignment.group, assignment.source)

    async def states(self, cluster: Cluster, assignment: Assignment) -> tuple[dict[bytes, bytes], int]:
        states: dict[bytes, bytes] = {}
        written = 0
        topic = self.topic(assignment)
        await cluster.settled(topic)
        async for record in cluster.read(topic):
            written += 1
            if not record.key.startswith(NO_STATE):
                states[record.key.removesuffix(self.ending)] = record.value
        return states, written

    def topic(self, assignment: Assignment) -> str:
        return self.named.format(group=assignment.group, source=assignment.source)


@dataclasses.dataclass(frozen=True)
class InBytewax:
    """Bytewax's recovery store: a snapshot counts once the epoch after it has begun, as it does in a restart."""

    flow: str
    source: str
    step: str

    async def progress(self, cluster: Cluster, assignment: Assignment) -> dict[int, int]:
        wanted = f"{self.flow}.{self.source}"
        found = {name: pickle.loads(saved) for step, name, saved in self._snapshots(assignment) if step == wanted}
        return {int(name.split("-", 1)[0]): offset for name, offset in found.items() if offset >= 0}

    async def states(self, cluster: Cluster, assignment: Assignment) -> tuple[dict[bytes, bytes], int]:
        begin = f"{self.flow}.{self.step}."
        saved = [(key, value) for step, key, value in self._snapshots(assignment) if step.startswith(begin)]
        return {key.encode(): pickle.loads(value) for key, value in saved}, len(saved)

    def topic(self, assignment: Assignment) -> None:
        return None

    def _snapshots(self, assignment: Assignment) -> list[tuple[str, str, bytes]]:
        """Return step, key and pickle of what lasts, oldest first."""
        found: list[tuple[str, str, bytes]] = []
        for path in sorted(Path(assignment.folder, "recovery").glob("*.sqlite3")):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
                if store.execute(_TABLES).fetchone() != (2,):
                    continue  # it is being made
                frontier = "SELECT coalesce(max(worker_frontier), 0) FROM fronts"
                found += store.execute(
                    f"SELECT step_id, state_key, ser_change FROM snaps WHERE snap_epoch < ({frontier}) "
                    "AND ser_change IS NOT NULL ORDER BY snap_epoch"
                ).fetchall()
        return found
