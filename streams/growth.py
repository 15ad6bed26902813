"""The journal grows: one partition becomes several, and each customer stays in one of them, with all that is known.

A new partition begins as a copy of what its customers have in the old one, in the order of the old one, control
records included: folding the copies gives the states that the old partition has of them. A Split ends the copies. In
the old partition another Split says from where on those customers are elsewhere. A copied record keeps the place that
it had first: by that its outputs are known, which are not sent again.
"""

from collections.abc import Iterable
from typing import Any, Final, Protocol

from schemas import headers as names
from schemas.identity import journal_partition
from schemas.message import Message
from streams.errors import BadEvent
from streams.partition import ALL_SWEPT, Partition

SWEPT_AT_ONCE: Final = 1_000
"""So many states of customers who have moved are deleted at one record: a changelog batch holds that many."""


class Sweepable(Protocol):
    """States by key, of which some are deleted."""

    def present(self) -> Iterable[bytes]:
        """Return every key that has a state now, in any order."""

    def delete(self, key: bytes, /) -> None:
        """Remove the state of a key."""


def is_copied(record: Message) -> bool:
    """Tell whether a record was copied from the partition that its own was split from; its outputs are out."""
    return names.first(record.headers, names.COPIED) is not None


def original(copied: bytes) -> tuple[int, int]:
    """Return partition and offset that a copied record had first; BadEvent for a header that does not say."""
    try:
        return names.Copied.parse(copied).original
    except ValueError as error:
        raise BadEvent(str(error)) from error


def home(key: bytes, partitions: int, default: int) -> int:
    """Return the partition of a customer, `default` for a key that is no surrogate and so never moves."""
    try:
        return journal_partition(key.decode(), partitions)
    except ValueError:
        return default


def split(partition: Partition, body: dict[str, Any], offset: int, *, copied: bool) -> bool:
    """Fold a Split that has this offset (a copied one: had it first); one that is not newer does nothing.

    Returns whether anything has changed.
    """
    if body["split_to"] <= partition.split_to:
        return False
    partition.split_to = body["split_to"]
    if body["cut"] >= 0:  # the end of the copies: places go on from where the old partition was cut
        partition.place_base += body["cut"] - offset
        partition.undeclared = {}  # the old partition has counted them
        partition.copying = copied
    elif not copied:
        partition.swept = 0
    return True


def raise_if_elsewhere(partition: Partition, key: bytes, number: int) -> None:
    """Raise BadEvent if a customer has moved away; `number` is this partition."""
    now = home(key, partition.split_to, number)
    if now != number:
        raise BadEvent(
            f"this customer is in partition {now} since the journal was split to {partition.split_to}: a router that "
            "did not know has written it here; see that no such router runs, then `attune dlq redrive` brings it there"
        )


def sweep(table: Sweepable, partition: Partition, number: int) -> None:
    """Delete some states of customers who have moved: those whose key begins with the next byte, not too many."""
    prefix = b"%02x" % partition.swept
    moved = sorted(
        key for key in table.present() if key.startswith(prefix) and home(key, partition.split_to, number) != number
    )
    for key in moved[:SWEPT_AT_ONCE]:
        table.delete(key)
    if len(moved) <= SWEPT_AT_ONCE:
        partition.swept += 1


def is_swept(partition: Partition) -> bool:
    """Tell whether no state of a customer who has moved is left."""
    return partition.swept >= ALL_SWEPT
