"""The partitions that an agent reads: of each how far the views contain it, and when they contained all of it."""

import asyncio
import collections
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from aiokafka import TopicPartition
from msgspec.structs import replace

from agents.view import Mark, source
from agents.views.documents import Derived
from agents.views.publisher import Publisher
from schemas import topics
from schemas.catalogue import CATALOGUE

logger = logging.getLogger(__name__)

READ: Final = (topics.FOLD_CHANGELOG, topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS)

_LOOKS: Final = 60


class Run(Protocol):
    """What a run of records says of how far it goes."""

    @property
    def next(self) -> int:
        """The offset behind its last record."""

    @property
    def appended_ms(self) -> int:
        """The append time of its last record."""


def made_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Return over how many partitions views are made, by the partitions that their topics have.

    Of the changelog that is the number before every split: which ones are split already is said by the marks, partition
    by partition, and a partition that was added for a split to come, or by hand, holds nobody.
    """
    return {
        **{topic: counts[topic] for topic in READ},
        topics.FOLD_CHANGELOG: CATALOGUE.topics[topics.JOURNAL].partitions,
    }


@dataclasses.dataclass(slots=True)
class Source:
    """One partition at work.

    `mark` is what the views contain by now, `stored` what stands in the store of it.  Looks are (time, end): at that
    time the partition that counts (of a changelog the journal's) ended there, and once the views contain it all they
    show whatever was durable by then.
    """

    tp: TopicPartition
    mark: Mark
    stored: bytes
    publisher: Publisher | None = None
    marked: Mark | None = None
    """The mark that was written last."""
    looks: collections.deque[tuple[int, int]] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=_LOOKS)
    )
    copying: bool = False
    """Whether the journal's partition is being filled with copies: then nothing of it is shown, and nothing scored."""
    publishing: "asyncio.Task[None] | None" = None
    scoring: "asyncio.Task[None] | None" = None

    @property
    def name(self) -> str:
        """Its name in the store."""
        return source(*self.tp)

    @property
    def of_states(self) -> bool:
        """Whether it is a partition of the changelog."""
        return bool(self.tp.topic == topics.FOLD_CHANGELOG)

    @property
    def looked_at(self) -> TopicPartition:
        """The partition whose end says what is to be shown."""
        return TopicPartition(topics.JOURNAL, self.tp.partition) if self.of_states else self.tp

    def advance(self, run: Run) -> None:
        """Say that a run has been applied; a run that was applied before takes nothing back."""
        if run.next > self.mark.next:
            self.mark = replace(self.mark, next=run.next, appended_ms=max(self.mark.appended_ms, run.appended_ms))

    def publish(self, derived: Sequence[Derived], results: Sequence[int], end: int) -> int:
        """Publish those states that the store had nothing newer of; return of how many it had.

        With them, everything before offset `end` of the changelog was given to the publisher.
        """
        publisher = self.publisher
        assert publisher is not None
        older = 0
        for one, result in zip(derived, results, strict=True):
            if result >= 0:
                publisher.add(one.write.customer, one.write.position, one.message)
            else:
                older += 1
        publisher.next = max(publisher.next, end)
        return older

    def look(self, now_ms: int, end: int, reached: int) -> None:
        """Take in where the partition that counts ended at a time, and how far the views had `reached` then.

        One that ended before that was made anew: whatever it says, the views do not show it.
        """
        if end >= reached:
            self.looks.append((now_ms, end))
            return
        logger.error(
            "%s/%d ends at %d but the views contain it up to %d: the topic was made anew, its positions begin again; "
            "the views stay as they are, and stale, until `attune views rebuild`",
            *self.looked_at,
            end,
            reached,
        )

    def show(self) -> None:
        """Move the time up to which everything is shown, by the looks that have been reached."""
        reached = self.reached
        shown_ms = self.mark.shown_ms
        while self.looks and self.looks[0][1] <= reached:
            shown_ms = max(shown_ms, self.looks.popleft()[0])
        if shown_ms != self.mark.shown_ms:
            self.mark = replace(self.mark, shown_ms=shown_ms)

    @property
    def reached(self) -> int:
        """Where the partition that counts ends if the views contain all of it."""
        return self.mark.position + 1 if self.of_states else self.mark.next

    def change(self, **fields: object) -> None:
        """Change the mark."""
        self.mark = replace(self.mark, **fields)

    @property
    def unscored(self) -> bool:
        """Whether another model is active than the one that all states in the views were scored by."""
        active = None if self.mark.model is None else self.mark.model.sha256
        return bool(self.of_states and active != self.mark.scored_by)
