"""A worker process for fault tests: the counting job on a real broker, through Faust.

Run as `python -m tests.faults.counting_worker BOOTSTRAP PREFIX GROUP`; `--help` names its options.
"""

import argparse
import logging
import os
import sys
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.engine import partition
from agents.engine.app import EngineApp, create_app, tune_garbage_collector
from agents.engine.job import Job
from agents.engine.kafka import KafkaLog
from tests.agents.engine import counting

SURVIVAL = {"request_timeout_ms": 5_000, "metadata_max_age_ms": 5_000, "retry_backoff_ms": 100}


def counting_job(prefix: str, **changes: Any) -> Job:
    """Return the counting job with topics named after a prefix."""
    names = {
        "source": f"{prefix}.source",
        "changelog": f"{prefix}.changelog",
        "outputs": (f"{prefix}.out", f"{prefix}.dlq"),
        "step": lambda table, record: [o._replace(topic=f"{prefix}.out") for o in counting.count(table, record)],
        "dead_letter": lambda record, error: counting.dead_letter(record, error)._replace(topic=f"{prefix}.dlq"),
        "watermark_seconds": 2.0,
    }
    return counting.job(**{**names, **changes})


def build(bootstrap: str, prefix: str, group: str, **changes: Any) -> EngineApp:
    """Return the Faust app."""
    job = counting_job(prefix, name=group, **changes)

    def producer() -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            enable_idempotence=True,
            max_batch_size=1_100_000,
            max_request_size=4_000_000,
            **SURVIVAL,
        )

    def reader() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none", enable_auto_commit=False)

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
            request_timeout_ms=11_000,
            fetch_max_wait_ms=50,
            metadata_max_age_ms=SURVIVAL["metadata_max_age_ms"],
        )

    log = KafkaLog(producer=producer, consumer=reader)
    return create_app(
        job, brokers=bootstrap, log=log, new_consumer=member, datadir=f"/tmp/{prefix}-faust", broker_commit_interval=0.2
    )


def die_between_outputs_and_changelog(nth: int) -> None:
    """Make the process die right after the outputs of its n-th batch are durable."""
    original = partition.send_all
    left = [nth]

    async def send_then_die(*args: Any) -> None:
        await original(*args)
        left[0] -= 1
        if left[0] <= 0:
            os._exit(9)

    partition.send_all = send_then_die  # type: ignore[assignment]


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("prefix")
    parser.add_argument("group")
    parser.add_argument("--die-between", type=int, default=0)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--confirm", type=float, default=30.0, help="seconds until a log that seems short is believed")
    options = parser.parse_args()
    tune_garbage_collector()
    if options.die_between:
        die_between_outputs_and_changelog(options.die_between)
    changes = {"max_batch_records": options.batch, "confirm_seconds": options.confirm}
    app = build(options.bootstrap, options.prefix, options.group, **changes)
    sys.argv = sys.argv[:1]
    faust.Worker(app, loglevel=logging.INFO, logfile=None).execute_from_commandline()


if __name__ == "__main__":
    main()
