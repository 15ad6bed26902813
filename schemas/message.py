"""One record of a topic, as every consumer gives it and every reader of ours takes it."""

from collections.abc import Sequence
from typing import Protocol


class Message(Protocol):
    """A record with its place; aiokafka's `ConsumerRecord` is one."""

    @property
    def topic(self) -> str:
        """Its topic."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def offset(self) -> int:
        """Its offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time where the topic keeps that, else its producer's time; milliseconds since 1970."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value; None for a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers, in their order."""
