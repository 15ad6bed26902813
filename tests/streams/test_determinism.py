"""The same log gives the same bytes, whatever the process."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.streams.journal import DAY, START, Journal

TYPES = (
    "purchase.made",
    "bill.disputed",
    "dispute.resolved",
    "case.reopened",
    "consent.given",
    "consent.withdrawn",
    "message.sent",
    "offer.accepted",
    "complaint.made",
    "never.declared",
)


def digest() -> str:
    """Fold a seeded story of twenty customers; return the digest of all outputs and states."""
    chance = random.Random(7)
    journal = Journal()
    customers = [hashlib.sha256(bytes([number])).hexdigest()[:32] for number in range(20)]
    waiting: list[str] = []
    for number in range(1_500):
        if number % 10 == 0:
            journal.tick(START + number * DAY // 10)
        outputs = journal.interact(
            chance.choice(TYPES),
            customer=chance.choice(customers),
            occurred_at=START + number * DAY // 10 - chance.randrange(3 * DAY),
            amount_minor=chance.randrange(10_000),
            reference=f"d{chance.randrange(3)}",
            decision_id=chance.choice(waiting) if waiting else None,
            attributes={"purpose": "marketing"},
            channel=chance.choice(["OUTLET", "E_COMMERCE"]),
        )
        waiting += [output.body["decision_id"] for output in outputs if output.body.get("kind") == "PROPOSED"]
    total = hashlib.sha256()
    for output in journal.outputs:
        total.update(repr(output.raw).encode())
    for key, state in journal.table.rest.items():
        total.update(key + state)
    assert len(journal.outputs) > 500
    return total.hexdigest()


def test_outputs_and_states_do_not_depend_on_the_hash_seed() -> None:
    """Processes with other seeds of `hash()` write the same bytes."""
    digests = []
    for seed in ("0", "1", "4242"):
        script = "from tests.streams.test_determinism import digest; print(digest())"
        run = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(run.stdout.strip())
    assert len(set(digests)) == 1


def test_a_second_fold_gives_the_same_bytes() -> None:
    """What a core has made ready before does not show in what it does next."""
    assert digest() == digest()


def test_interleaving_customers_does_not_change_what_each_is_told() -> None:
    """One core serves many customers; the values handed to a condition are always those of the one at hand."""

    def told(interleaved: bool) -> dict[str, list[str]]:
        journal = Journal()
        found: dict[str, list[str]] = {}
        customers = ["a" * 32, "b" * 32]
        steps = [(customer, day) for day in range(40) for customer in customers]
        if not interleaved:
            steps.sort(key=lambda step: step[0])
        for customer in customers:
            journal.interact("consent.given", customer=customer, attributes={"purpose": "marketing"})
        for customer, day in steps:
            if customer[0] == "b" and day % 3:
                continue
            outputs = journal.interact(
                "purchase.made",
                customer=customer,
                occurred_at=START + day * DAY,
                amount_minor=4000 if customer[0] == "a" else 900,
            )
            found.setdefault(customer, []).extend(repr(output.body["candidates"]) for output in outputs)
        return found

    assert told(interleaved=True) == told(interleaved=False)
