"""Events per CPU second through the pure core, decoding included, with the shipped pack and model.

`python -m tests.benchmarks.core` prints one line for each share of deciding events. The stream resembles a retailer's:
2,500 customers of whom most agreed to marketing, baskets in order of time, the share of large ones chosen so that it
decides the share of decisions. States stay decoded, as in a warm engine; their encoding is timed apart.

The host may be shared: each run of 500 events is timed several times and its smallest time counts.
"""

import gc
import hashlib
import random
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas import headers as names
from schemas.codec import encode, fingerprint_of
from streams.state import STATE_CODEC
from streams.step import Core
from tests.streams.journal import DAY, MODEL, ROOT, START, Record, interaction, sha256

PACK = (ROOT / "schemas/packs/retail.yaml").read_bytes()

CUSTOMERS = 2_500
EVENTS = 20_000
RUN = 500
REPEATS = 6


class Speed(NamedTuple):
    """What was measured."""

    deciding: float
    """Share of events that were decided on."""
    per_cpu_second: float
    state_bytes: float
    encode_us: float
    decode_us: float


class Table(dict[bytes, Any]):
    """Decoded states."""

    def set(self, key: bytes, value: Any) -> None:
        self[key] = value


def _control(kind: str, raw: bytes, offset: int) -> Record:
    body = {
        "kind": kind,
        "name": kind.lower(),
        "version": "1",
        "sha256": sha256(raw),
        "sequence": 0,
        "approved_by": "",
        "approved_at": 0,
    }
    headers = [(names.KIND, b"activation"), (names.SCHEMA, fingerprint_of("Control").encode())]
    return Record("crm.journal.v1", 0, offset, 0, None, encode("Control", {"body": body}), headers)


def _event(type_: str, key: bytes, offset: int, **fields: Any) -> Record:
    value = encode("Interaction", interaction(type_, event_id=f"event-{offset}", source="shop", **fields))
    headers = names.cloud_event(
        event_id=f"event-{offset}",
        ce_type=names.INTERACTION_PREFIX + type_,
        source="shop",
        time_ms=fields["occurred_at"],
        subject=key.decode(),
    )
    headers += [
        (names.KIND, b"interaction"),
        (names.ORIGIN, b"crm.interactions.v1/0/%d" % offset),
        (names.SCHEMA, fingerprint_of("Interaction").encode()),
    ]
    return Record("crm.journal.v1", 0, offset, 0, key, value, headers)


def stream(
    large: float, *, customers: int = CUSTOMERS, events: int = EVENTS, pack: bytes = PACK
) -> tuple[list[Record], list[Record]]:
    """Return what happened before, and the baskets that are timed; `large` of them trigger by their amount."""
    chance = random.Random(1)
    keys = [hashlib.sha256(b"%d" % number).hexdigest()[:32].encode() for number in range(customers)]
    before = [_control("POLICY", pack, 0), _control("MODEL", MODEL, 1)]
    for key in keys[: customers * 7 // 10]:
        before.append(_event("consent.given", key, len(before), occurred_at=START, attributes={"purpose": "marketing"}))
    baskets = []
    time_ms = START
    for number in range(events * 2):
        time_ms += chance.randrange(2 * 40 * DAY // events)
        amount = chance.randrange(10_000, 20_000) if chance.random() < large else chance.randrange(100, 9_000)
        fields = {"occurred_at": time_ms, "amount_minor": amount, "currency": "USD", "channel": "OUTLET"}
        fields |= {"touchpoint": "store-330", "reference": f"basket-{number}"}
        baskets.append(_event("purchase.made", chance.choice(keys), len(before) + number, **fields))
    return before + baskets[:events], baskets[events:]


def measure(large: float) -> Speed:
    """Fold the stream several times; return the smallest times."""
    before, timed = stream(large)
    documents = {sha256(PACK): PACK, sha256(MODEL): MODEL}
    runs = [timed[start : start + RUN] for start in range(0, len(timed), RUN)]
    best = [float("inf")] * len(runs)
    decided = 0
    for _ in range(REPEATS):
        core, table, decided = Core(documents), Table(), 0
        for record in before:
            core(table, record)
        gc.collect()
        for number, run in enumerate(runs):
            started = time.process_time()
            for record in run:
                decided += bool(core(table, record))
            best[number] = min(best[number], time.process_time() - started)
    states = [state for key, state in table.items() if len(key) == 32]
    encoded = [STATE_CODEC.encode(state) for state in states]
    return Speed(
        decided / len(timed),
        len(timed) / sum(best),
        sum(map(len, encoded)) / len(encoded),
        _microseconds(STATE_CODEC.encode, states),
        _microseconds(STATE_CODEC.decode, encoded),
    )


def _microseconds(work: Any, items: Sequence[Any]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        for item in items:
            work(item)
        times.append(time.process_time() - started)
    return min(times) / len(items) * 1e6


def main() -> int:
    """Print the table."""
    gc.set_threshold(200_000, 50, 1_000)
    for large in (0.0, 0.1, 0.3, 1.0):
        speed = measure(large)
        sys.stdout.write(
            f"deciding {speed.deciding:6.1%}  {speed.per_cpu_second:8,.0f} events per CPU second  "
            f"state {speed.state_bytes:.0f} bytes, encode {speed.encode_us:.1f} us, decode {speed.decode_us:.1f} us\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
