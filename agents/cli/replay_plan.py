"""What a replay will read and write, by what stands in the cluster now; `--dry-run` prints it and ends."""

from pathlib import Path
from typing import Any

from agents.cli import context, folding
from agents.cli.replay_options import Request
from agents.errors import AttuneError, UsageError
from agents.history.plan import Folder, Plan, ranges
from agents.settings import Settings
from schemas import topics


async def settle(settings: Settings, request: Request, words: dict[str, Any], begun: Plan | None) -> tuple[Plan, int]:
    """Return the plan, that of an earlier run where one was begun, and how many partitions the target topic has.

    Raises AttuneError where the journal cannot be read, or is not the one of the earlier run, UsageError where a
    partition, an offset or the target is not there.
    """
    counts = await _counts(settings)
    target = request.target.topic
    if target is not None and target not in counts:
        raise UsageError(f"topic {target} does not exist", "create it first: a replay makes no topics")
    journal = counts[topics.JOURNAL]
    numbers = request.partitions if request.partitions is not None else tuple(range(journal))
    for number in numbers:
        if number >= journal:
            raise UsageError(f"{topics.JOURNAL} has no partition {number}", f"it has 0 to {journal - 1}")
    folds = request.selection.folds
    async with folding.reader(settings) as consumer:
        if begun is None:
            found = await ranges(consumer, topics.JOURNAL, numbers, request.bounds, folds=folds)
            selection = request.selection
            plan = Plan(request=words, since_ms=selection.since_ms, until_ms=selection.until_ms, ranges=found)
        else:
            plan = begun
            await _raise_if_anew(consumer, plan)
    return plan, 0 if target is None else counts[target]


async def _raise_if_anew(consumer: Any, plan: Plan) -> None:
    from aiokafka import TopicPartition

    tps = [TopicPartition(topics.JOURNAL, task.partition) for task in plan.ranges]
    ends = await consumer.end_offsets(tps)
    for tp, task in zip(tps, plan.ranges, strict=True):
        if ends[tp] < task.last:
            raise AttuneError(
                f"{tp.topic}/{tp.partition} ends at {ends[tp]:,}, when the replay began it ended at {task.last:,}",
                "the journal was made anew or cut: begin again in a new folder",
            )


async def _counts(settings: Settings) -> dict[str, int]:
    """Return the number of partitions of every topic; what the fold reads must be there."""
    from agents.cli.partitions import partitions
    from agents.clients import kafka

    await partitions(settings, topics.JOURNAL, topics.POLICIES, topics.MODELS)
    admin = kafka.admin(settings.kafka)
    try:
        await admin.start()
        return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()


async def dry_run(settings: Settings, request: Request, resume: Path | None, *, json: bool) -> None:
    """Print what would be read and written; nothing is written, not even the folder of --resume."""
    from agents.cli import replay_text
    from agents.cli.approved import approved

    begun = None
    words = {**request.words, "release": folding.release()}
    if resume is not None and resume.is_dir():
        folder = Folder(resume)
        try:
            begun = folder.plan(words)
        finally:
            folder.close()
    if begun is None and request.target.file is not None and request.target.file.exists():
        raise UsageError(f"{request.target.file} exists", "name a new file, or remove it first")
    plan, topic_partitions = await settle(settings, request, words, begun)
    folds = request.selection.folds
    found = {
        "partitions": [
            {
                "partition": task.partition,
                "begin": task.begin,
                "end": task.end,
                "journal_end": task.last,
                "read": task.records(folds=folds),
            }
            for task in plan.ranges
        ],
        "read": sum(task.records(folds=folds) for task in plan.ranges),
        "in_range": sum(task.end - task.begin for task in plan.ranges),
        "selects_further": request.selection.selects,
        "documents": await approved(settings) if folds else [],
        "to": str(request.target.file or request.target.topic or "screen"),
        "topic_partitions": topic_partitions or None,
        "goes_on": begun is not None,
    }
    if json:
        context.print_json(found)
    else:
        replay_text.print_plan(found)
