"""The next release: it knows logic 2, under which states have a version of their own and outputs another header.

Under logic 1 it does what today's release does, byte for byte. Run as `python -m tests.faults.next_release ARGUMENT...`
it is the command `attune` of that release.
"""

import functools
from typing import Any

from agents import topology, workers
from agents.cli import main as cli
from agents.journal.coordinator import Coordinator
from schemas import headers as names
from schemas.codec import decode
from schemas.message import Message
from streams.customer import Customer
from streams.emit import Output
from streams.partition import PARTITION_KEY, Partition
from streams.state import VERSION, StateCodec
from streams.step import INTERACTION, Core, Table

NEWEST = 2
RELEASE = ("attune-release", b"2")


class NextCustomer(Customer, array_like=True, gc=False, tag="customer"):
    """A customer of version 2: calls are counted, since logic 2 became active."""

    calls: int = 0


NEXT_CODEC = StateCodec({VERSION: (Customer, Partition), VERSION + 1: (NextCustomer, Partition)})


class NextCore(Core):
    """The core of the next release."""

    newest_logic = NEWEST

    def __call__(self, table: Table, record: Message) -> list[Output]:
        """Fold by the logic that is active."""
        outputs = super().__call__(table, record)
        own = table.get(PARTITION_KEY)
        if own is None or own.logic < NEWEST or dict(record.headers).get(names.KIND) != INTERACTION:
            return outputs
        assert record.key is not None
        customer: Any = table.get(record.key)
        if customer is None or customer.offset != record.offset:
            return outputs  # passed over
        if type(customer) is Customer:
            fields = {name: getattr(customer, name) for name in Customer.__struct_fields__}
            customer = NextCustomer(**fields)
        customer.calls += decode(record.value)["type"] == "call.made"
        table.set(record.key, customer)
        return [(topic, key, value, [*headers, RELEASE]) for topic, key, value, headers in outputs]


def main() -> None:
    """Be the command of the next release."""
    topology.Core = NextCore  # type: ignore[misc]
    topology.STATE_CODEC = NEXT_CODEC  # type: ignore[misc]
    workers.Coordinator = functools.partial(Coordinator, newest_logic=NEWEST)  # type: ignore[misc, assignment]
    cli.main()


if __name__ == "__main__":
    main()
