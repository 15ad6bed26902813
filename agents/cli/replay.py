"""`attune replay`: what the fold gave out, and the interactions themselves, once more from the journal."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli import connect
from agents.cli.replay_options import By, Options, Target, file_of
from agents.errors import AttuneError, UsageError
from schemas.vocabulary import Channel

if TYPE_CHECKING:
    from agents.cli.replay_session import Session

app = typer.Typer()

_EXAMPLES = (
    "Examples: `attune replay --customer loyalty:4711`, `attune replay --from '2d ago' --what suppressions --json`, "
    "`attune replay --to-file decisions.jsonl --resume decisions.work`, `attune replay --to-topic lab.decisions`, "
    "`attune replay --partition 0 --from-offset 1000 --to-offset 1999 --dry-run`"
)


@app.command("replay", epilog=_EXAMPLES)
def replay(
    *,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339, `2d ago` or now; inclusive")] = None,
    to: Annotated[str | None, typer.Option("--to", help="the same; exclusive")] = None,
    by: Annotated[
        By, typer.Option(help="which time --from and --to mean: append to the journal, or event")
    ] = By.APPEND,
    from_offset: Annotated[int | None, typer.Option(min=0, help="inclusive; with one --partition")] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="inclusive; with one --partition")] = None,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="of the journal; may be repeated")] = None,
    customer: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="`namespace:value` or attune:<surrogate>; may be repeated")
    ] = None,
    channel: Annotated[
        list[Channel] | None, typer.Option(case_sensitive=False, help="of the interaction; may be repeated")
    ] = None,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="of the interaction, e.g. bill.disputed; may be repeated")
    ] = None,
    what: Annotated[str, typer.Option(help="actions, suppressions, interactions, by commas")] = "actions,suppressions",
    to_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="a new file: JSON lines, or an Avro container where it ends in .avro"),
    ] = None,
    to_topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="an existing topic that is none of Attune's")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="keep there how far it is, and go on from there if it was interrupted"),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="processes; left out, as many as cores, and worth it", show_default=False)
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="records that are folded at once")] = 20_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be read and written")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Fold the journal again and give out what is chosen: to the screen, a file or a topic. Live work is not touched.

    State needs everything before, so that each partition is folded from its first record; what lies outside the range
    is not given out. A record of the journal is chosen or not, and what came out of it with it: --channel and --type
    are the interaction's. By `--by append` (when Attune heard of it) a range is one of offsets; by event, `occurred_at`
    of each interaction counts. Interactions alone (--what interactions) are read as they stand, without a fold.

    Screen and file are in the order of partition, offset and index. A file appears when it is whole; a topic gets key,
    value and headers as live, those of one customer in their order; after an interruption some come twice there, with
    the same header attune-position (interactions: attune-origin), as after a restart of the live fold.
    """
    file = None if to_file is None else file_of(to_file)
    options = Options(
        from_text=from_,
        to_text=to,
        by=by,
        from_offset=from_offset,
        to_offset=to_offset,
        partitions=tuple(partition or ()),
        customers=tuple(customer or ()),
        channels=tuple(channel or ()),
        types=tuple(type_ or ()),
        what=what,
        target=Target(file, to_topic),
        batch=batch,
    )
    options.check()
    if resume is not None and options.target.is_screen:
        raise UsageError("--resume goes on with a file or a topic", "add --to-file or --to-topic")
    settings = connect.kafka_settings()
    request = options.resolve(settings, now_ms=int(time.time() * 1000))
    with connect.explained(settings):
        if dry_run:
            from agents.cli.replay_plan import dry_run as look

            asyncio.run(look(settings, request, resume, json=json))
            return
        with _folder(resume, file) as folder:
            from agents.cli.replay_session import Session

            _run(Session(settings, request, folder, jobs, json=json), resume)


def _run(session: "Session", resume: Path | None) -> None:
    try:
        session.run()
    except KeyboardInterrupt:
        if resume is None:
            raise AttuneError(
                "interrupted; nothing was kept", "with --resume FOLDER a replay can go on later"
            ) from None
        raise AttuneError(
            "interrupted; what was done so far is kept", f"the same command, with --resume {resume}, goes on"
        ) from None


@contextmanager
def _folder(resume: Path | None, file: Path | None) -> Iterator[Path]:
    """Yield where the work is kept: beside the file that it becomes, if there is one, since /tmp may be small."""
    if resume is not None:
        yield resume
        return
    beside = Path(tempfile.gettempdir()) if file is None else file.absolute().parent
    try:
        made = tempfile.TemporaryDirectory(prefix=".attune-replay-", dir=beside)
    except OSError as error:
        raise UsageError(
            f"nothing can be written into {beside}: {error.strerror}", "name a file in a folder of your own"
        ) from error
    with made as folder:
        yield Path(folder)
