"""What `attune views status` looks at."""

import time
from collections.abc import Mapping
from typing import Any


async def status(
    store: Any, generation: str, consumer: Any, counts: Mapping[str, int], stale_seconds: float
) -> dict[str, Any]:
    """Return of each source its mark, its age and its lag, and the number of customers.

    `counts` has the topics that the views are made of, and their numbers of partitions. Whatever keeps `/readyz` from
    saying ready is stale here.
    """
    from aiokafka import TopicPartition

    from agents.cli.api import all_sources
    from agents.view import doubt, plain, source
    from schemas import headers as names

    stored = await store.standing()
    reasons = all_sources(stored).reasons
    tps = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    ends = await consumer.end_offsets(tps)
    now_ms = time.time() * 1_000
    sources = []
    for tp in tps:
        name = source(*tp)
        mark = stored.marks.get(name)
        sources.append(
            {
                "topic": tp.topic,
                "partition": tp.partition,
                "next": None if mark is None else mark.next,
                "lag": None if mark is None else max(0, ends[tp] - mark.next),
                "position": None if mark is None or mark.position < 0 else mark.position,
                "appended_at": _time(names, 0 if mark is None else mark.appended_ms),
                "shown_until": _time(names, 0 if mark is None else mark.shown_ms),
                "age_seconds": round((now_ms - mark.shown_ms) / 1_000, 2) if mark and mark.shown_ms else None,
                "clock": _time(names, 0 if mark is None else mark.clock_ms),
                "model": None if mark is None else plain(mark.model),
                "stale_because": doubt(name, mark, now_ms, stale_seconds),
            }
        )
    customers = 0
    async for _ in store.customers(generation):
        customers += 1
    return {
        "generation": generation,
        "customers": customers,
        "stale": bool(reasons) or any(one["stale_because"] for one in sources),
        "stale_because": list(reasons),
        "stale_seconds": stale_seconds,
        "sources": sources,
    }


def _time(names: Any, time_ms: int) -> str | None:
    return names.rfc3339(time_ms) if time_ms else None
