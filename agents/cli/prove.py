"""`attune prove`: the oracle, another process with plain consumers, judges what is in the topics."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Self

import typer

from agents.cli import connect, context
from agents.engine.job import Job
from agents.proof.report import Report
from agents.proof.subject import Changes, Clients, Output, Places, Progress, Reference
from agents.settings import Settings

app = typer.Typer()


@app.command("prove", epilog="Example: `attune prove --wait 30 --json`; exit 0 when it held, 1 when something differs")
def prove(
    *,
    wait: Annotated[float, typer.Option(min=0, help="seconds in which router and fold may first catch up")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Judge the topics: every interaction in the journal once, states and outputs as a sequential fold gives them."""
    settings = connect.kafka_settings()
    with _bar() as bar:
        report = asyncio.run(judge(settings, wait_seconds=wait, progress=None if bar is None else bar.show))
    if json:
        context.print_json(report.to_json())
    else:
        _print(report)
    raise typer.Exit(0 if report.held else 1)


async def judge(settings: Settings, *, wait_seconds: float = 0.0, progress: Progress | None = None) -> Report:
    """Judge what is in the topics of these settings; raises AttuneError where they cannot be read."""
    from agents.clients import kafka
    from agents.proof.oracle import prove as run

    clients = Clients(lambda: kafka.consumer(settings.kafka), lambda: kafka.admin(settings.kafka))
    with connect.explained(settings):
        async with _Schemas(settings) as schemas:
            reference = _reference(settings, schemas)
            return await run(places(), reference, clients, wait_seconds=wait_seconds, progress=progress)


def places() -> Places:
    """Return the topics and groups of Attune."""
    from agents import topology
    from schemas import topics

    return Places(
        interactions=topics.INTERACTIONS,
        interactions_dead=topics.INTERACTIONS_DEAD,
        journal=topics.JOURNAL,
        changelog=topics.FOLD_CHANGELOG,
        outputs=(topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS, topics.JOURNAL_DEAD),
        router_group=topology.ROUTER_GROUP,
        fold_group=topology.FOLD_GROUP,
    )


def _reference(settings: Settings, schemas: "_Schemas") -> Reference:
    from agents import topology
    from agents.clients import kafka
    from agents.documents import journal_placement
    from agents.engine.changelog import Restored
    from agents.journal.documents import Documents
    from schemas import identity
    from streams import growth

    documents = Documents()
    job = topology.fold_job(documents)
    secret = settings.identity_secret()
    assert job.codec is not None

    counts: list[int] = []

    async def prepare() -> None:
        counts[:] = (await journal_placement(settings)).counts
        consumer = kafka.consumer(settings.kafka)
        await consumer.start()
        try:
            await documents.read(consumer)
        finally:
            await consumer.stop()

    return Reference(
        step=job.step,
        codec=job.codec,
        dead_letter=job.dead_letter,
        new_changelog=Restored,
        customer_of=lambda key: identity.customer_of_key(secret, key),
        type_of=schemas.type_of,
        decode=schemas.decode,
        partition_of=job.partitioner,
        check=_limits(job),
        prepare=prepare,
        partitions=lambda: counts,
        muted=growth.is_copied,
        learn=schemas.learn if schemas.remote else None,
    )


def _limits(job: Job) -> Callable[[Sequence[Output], Changes], None]:
    """Return what refuses a record as the engine does: too large a state, then too large an output."""
    from agents.engine.errors import OversizedOutput, OversizedState

    def check(outputs: Sequence[Output], changes: Changes) -> None:
        for encoded in changes.values():
            if len(encoded or b"") > job.max_state_bytes:
                raise OversizedState(f"state of {len(encoded or b'')} bytes")
        for output in outputs:
            if len(output[2] or b"") > job.max_output_bytes:
                raise OversizedOutput(f"output of {len(output[2])} bytes")

    return check


class _Schemas:
    """The schemas of interactions: the embedded ones, or those of a registry, which is only read."""

    def __init__(self, settings: Settings) -> None:
        from schemas.codec import Codec

        self._registry = connect.remote_registry(settings)
        self._codec = Codec()
        self._unknown: dict[int, str] = {}
        self.remote = self._registry is not None

    async def __aenter__(self) -> Self:
        if self._registry is not None:
            await self._registry.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._registry is not None:
            await self._registry.__aexit__(None, None, None)

    async def learn(self, schema_id: int) -> None:
        """Ask the registry for one id; what it does not know stays unknown, also where we know the number."""
        from schemas.errors import ContractError

        assert self._registry is not None
        try:
            self._codec.learn(schema_id, await self._registry.schema(schema_id))
        except ContractError as error:
            self._unknown[schema_id] = str(error)

    def type_of(self, value: bytes | None) -> tuple[str, str]:
        """Return a value's type and its writer's fingerprint; ContractError for an unknown one."""
        self._refuse_unknown(value)
        return self._codec.type_of(value)

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """Read a value; ContractError where it cannot be."""
        self._refuse_unknown(value)
        return self._codec.decode(value)

    def _refuse_unknown(self, value: bytes | None) -> None:
        from schemas.codec import schema_id_of
        from schemas.errors import UnknownSchema

        if self._unknown and (words := self._unknown.get(schema_id_of(value))):
            raise UnknownSchema(words)


class _Bar:
    """A progress bar: one line for each topic that is read."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._tasks: dict[str, tuple[Any, int, int]] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, topic: str, done: int, total: int) -> None:
        """Show how far a topic was read; topics are read partition after partition, so totals add up."""
        task, before, all_before = self._tasks.get(topic, (None, 0, 0))
        if task is None:
            task = self._bar.add_task(topic, total=total)
        self._bar.update(task, completed=before + done, total=all_before + total)
        if done >= total:
            self._tasks[topic] = (task, before + done, all_before + total)
        else:
            self._tasks[topic] = (task, before, all_before)


def _bar() -> Any:
    return _Bar() if sys.stderr.isatty() else nullcontext()


_LINES = (
    ("interactions", "retained interactions"),
    ("routed", "in the journal, counting once"),
    ("dead", "dead letters of the router"),
    ("copies", "copies in the journal that the fold passes over"),
    ("journal", "journal records"),
    ("copied", "copied into new partitions of the journal"),
    ("folded", "folded again, up to the fences"),
    ("unfolded", "beyond the fences, not judged yet"),
    ("states", "states"),
    ("outputs", "outputs"),
    ("repeated_outputs", "outputs sent again, same content"),
    ("refused", "dead letters of the fold"),
)


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(show_header=False, box=None)
    for name, words in _LINES:
        table.add_row(f"{getattr(report, name):,}", words)
    console.print(table)
    for difference in report.differences:
        console.print(f"[red]differs[/red] {escape(str(difference))}", highlight=False, soft_wrap=True)
    left = sum(report.counts.values()) - len(report.differences)
    if left:
        console.print(f"and {left:,} more of these kinds")
    verdict = "[green]held[/green]" if report.held else "[red]not held[/red]"
    console.print(f"{verdict} in {report.seconds:.1f} s")
