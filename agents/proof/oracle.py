"""The order of reading, chosen so that a system at work is judged fairly.

What an agent writes last is read first: commits, then the changelog, then outputs, then the journal.  So whatever
is claimed durable must be found in what is read after it, and what arrives meanwhile is beyond the ends taken.
Interactions are the other way round: their end is taken first, and all before it must be in the journal.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from agents.proof import outputs
from agents.proof.growth import Growth
from agents.proof.origins import Origins
from agents.proof.outputs import Outputs
from agents.proof.partition import PartitionTrial
from agents.proof.reading import Reader, Span, Spans
from agents.proof.report import Difference, Kind, Place, Report
from agents.proof.states import States
from agents.proof.subject import Clients, Places, Progress, Reference

_POLL_SECONDS = 0.2


async def prove(
    places: Places,
    reference: Reference,
    clients: Clients,
    *,
    wait_seconds: float = 0.0,
    progress: Progress | None = None,
) -> Report:
    """Judge what is in the topics now; returns a report.

    With `wait_seconds` the router may first copy what is in the interactions now, and the fold what is in the journal
    then; what is not done by that time is judged all the same.

    Memory: about ten bytes an interaction, thirty an output, a hundred and fifty a state, and the encoded states
    of one journal partition.  Raises AttuneError where a topic is missing or cannot be read.
    """
    began = time.monotonic()
    report = Report()
    async with Reader(clients, progress) as reader:
        await _Trial(places, reference, reader, report).run(wait_seconds)
    report.seconds = time.monotonic() - began
    return report


class _Trial:
    def __init__(self, places: Places, reference: Reference, reader: Reader, report: Report) -> None:
        self._places = places
        self._reference = reference
        self._reader = reader
        self._report = report
        self._origins = Origins(reference, places, self._growth(None), report)
        self._outputs = Outputs(reference, report)
        self._changelog: dict[int, States] = {}

    async def run(self, wait_seconds: float) -> None:
        reader, places, report = self._reader, self._places, self._report
        interactions = await reader.spans(places.interactions)
        if wait_seconds:
            await self._catch_up(interactions, time.monotonic() + wait_seconds)
        report.committed = await reader.committed(places.fold_group, places.journal)
        changelog = await reader.spans(places.changelog)
        sent = {topic: await reader.spans(topic) for topic in places.outputs}
        await self._read_changelog(changelog)
        self._judge_commits()
        await self._read_interactions(interactions)
        await self._read_outputs(sent)
        routed = await reader.committed(places.router_group, places.interactions)
        journal = await reader.spans(places.journal)
        await self._read_dead_letters()
        if self._reference.prepare is not None:
            await self._reference.prepare()
        self._origins.growth = self._growth(self._reference.partitions)
        for number, span in journal.items():
            await self._judge_partition(number, span, changelog)
        now = await reader.spans(places.interactions)
        self._origins.finish({number: span.end for number, span in now.items()}, routed)
        await self._explain()

    def _growth(self, partitions: Callable[[], Sequence[int]] | None) -> Growth:
        existing = len(self._reader.partitions(self._places.journal))
        return Growth(partitions() if partitions is not None else [existing], existing, self._report)

    async def _catch_up(self, interactions: Spans, deadline: float) -> None:
        """Wait for the router to commit the ends of the interactions, then for the fold to commit the journal's."""
        places, reader = self._places, self._reader
        await self._committed(places.router_group, places.interactions, interactions, deadline)
        journal = await reader.spans(places.journal)
        await self._committed(places.fold_group, places.journal, journal, deadline)

    async def _committed(self, group: str, topic: str, spans: Spans, deadline: float) -> None:
        while time.monotonic() < deadline:
            done = await self._reader.committed(group, topic)
            if all(done.get(number, span.begin) >= span.end for number, span in spans.items()):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _read_changelog(self, spans: Spans) -> None:
        topic = self._places.changelog
        self._changelog = {number: States(self._reference.new_changelog()) for number in spans}
        async for run in self._reader.read(topic, spans):
            take = self._changelog[run[0].partition].take
            for record in run:
                take(record)
        for states in self._changelog.values():
            states.finish(self._report)
        self._report.fences = {number: found.fence for number, found in self._changelog.items()}

    def _judge_commits(self) -> None:
        for number, offset in self._report.committed.items():
            fence = self._report.fences.get(number, -1)
            if offset > fence + 1:
                words = f"group {self._places.fold_group} has committed it, the changelog goes up to {fence}"
                self._report.add(Kind.COMMIT, Place(self._places.journal, number, offset), words)

    async def _read_interactions(self, spans: Spans) -> None:
        self._origins.expect(spans)
        known: set[int] = set()
        async for run in self._reader.read(self._places.interactions, spans):
            if self._reference.learn is not None:
                for schema_id in {int.from_bytes(record.value[1:5], "big") for record in run if record.value} - known:
                    await self._reference.learn(schema_id)
                    known.add(schema_id)
            for record in run:
                self._origins.interaction(record)

    async def _read_dead_letters(self) -> None:
        topic = self._places.interactions_dead
        async for run in self._reader.read(topic, await self._reader.spans(topic)):
            for record in run:
                self._origins.dead_letter(record)

    async def _read_outputs(self, sent: dict[str, Spans]) -> None:
        for topic, spans in sent.items():
            self._outputs.expect(topic, spans)
            async for run in self._reader.read(topic, spans):
                for record in run:
                    self._outputs.take(record)

    async def _judge_partition(self, number: int, span: Span, changelog: Spans) -> None:
        """Read one journal partition once: its copies, its fold, the fold's outputs, and the states at the fence."""
        held = self._changelog.get(number) or States(self._reference.new_changelog())
        found = self._outputs.partition(number)
        trial = PartitionTrial(self._places, self._reference, self._report, number, span, held, found)
        marks: dict[int, int] = {}
        async for run in self._reader.read(self._places.journal, {number: span}):
            for record in run:
                self._origins.journal(record, marks)
                trial.take(record)
        trial.finish()
        if trial.wrong:
            stored = await self._stored(number, changelog.get(number, Span(0, 0)), trial.wrong)
            trial.judge_states(stored)

    async def _stored(self, number: int, span: Span, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the encoded states of some keys from the changelog, read once more."""
        again = self._reference.new_changelog()
        found: dict[bytes, bytes] = {}
        async for run in self._reader.read(self._places.changelog, {number: span}):
            for record in run:
                for key, value in again.scan([record]):
                    if key in keys:
                        found[key] = value or b""
        return found

    async def _explain(self) -> None:
        """Say of the first outputs with another content in what they differ."""
        for mismatch in self._outputs.mismatches:
            record = await self._reader.one(mismatch.place)
            for index, difference in enumerate(self._report.differences):
                if difference.place == mismatch.place and record is not None:
                    words = f"{difference.words}: {outputs.describe(mismatch.expected, record)}"
                    self._report.differences[index] = Difference(difference.kind, difference.place, words)
