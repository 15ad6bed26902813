"""What can go wrong with the main job on a real broker, one function each: it does it, mends it, times the recovery.

Each says for the table in the README what happens and from which moment the recovery counts. The functions are run by
tests (every one once), by `make soak` (again and again, in another order), and by `python -m tests.faults`, which
prints the table. After them the oracle must hold.
"""

import asyncio
import dataclasses
import os
import re
import resource
import signal
from collections.abc import Awaitable, Callable

from agents.platform import process
from agents.platform.local import LocalPlatform
from schemas import topics
from tests.faults.main_job import ROLES, MainJob
from tests.faults.recovery import Recovery

Do = Callable[[MainJob, Recovery], Awaitable[None]]

SESSION_SECONDS = 10.0
"""After so long without a heartbeat a worker has left its group (agents/clients/kafka.py)."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; `takes_long` keeps it out of CI."""

    name: str
    happens: str
    since: str
    do: Do
    takes_long: bool = False


FAULTS: list[Fault] = []


def fault(name: str, happens: str, since: str, *, takes_long: bool = False) -> Callable[[Do], Do]:
    """Put a function into the list."""

    def enter(do: Do) -> Do:
        FAULTS.append(Fault(name, happens, since, do, takes_long))
        return do

    return enter


def _platform(job: MainJob) -> LocalPlatform:
    assert job.platform is not None
    return job.platform


@fault("nothing at all, to compare with", "what takes this long is batches and the interval of commits", "any moment")
async def nothing(job: MainJob, recovery: Recovery) -> None:
    """Let it run."""
    await asyncio.sleep(1)
    recovery.begins()
    await recovery.over()


def _killed(role: str) -> Do:
    async def do(job: MainJob, recovery: Recovery) -> None:
        job.kill(role)
        recovery.begins()
        job.start(role)
        await recovery.over()

    return do


fault("the fold is killed (kill -9) and started again", "its successor waits for the old session to end", "the kill")(
    _killed("fold")
)
fault("the router is killed and started again", "its last batch may come twice; the fold passes over it", "the kill")(
    _killed("router")
)
fault("the coordinator is killed and started again", "time stands still; nobody waits for it", "the kill")(
    _killed("coordinator")
)


@fault("the fold dies between outputs and changelog", "the outputs come again, same id and content", "its next start")
async def dies_between(job: MainJob, recovery: Recovery) -> None:
    """Die after the outputs of a batch."""
    await job.leave("fold")
    assert await asyncio.to_thread(job.start("fold", after_outputs=5).wait, 60) == 9, job.logs()
    recovery.begins()
    job.start("fold")
    await recovery.over()


@fault("one of two folds is killed", "the other takes its partitions over at the end of the session", "the kill")
async def one_of_two(job: MainJob, recovery: Recovery) -> None:
    """Kill the first once both have partitions."""
    job.start("fold", "fold-2")
    await asyncio.sleep(4)
    job.kill("fold")
    recovery.begins()
    await recovery.over()
    job.start("fold")
    await asyncio.sleep(2)
    await job.leave("fold-2")


@fault("rebalance storm: six folds join, leave or are killed", "partitions move with their states", "the last one")
async def rebalance_storm(job: MainJob, recovery: Recovery) -> None:
    """Let six come and go, at random, beside the first."""
    there: list[str] = []
    for number in range(6):
        name = f"fold-{number}"
        job.start("fold", name)
        there.append(name)
        await asyncio.sleep(1 + 1.5 * job.rng.random())
        if len(there) > 1 and job.rng.random() < 0.5:
            job.kill(there.pop(0))
    for name in there:
        await job.leave(name)
    recovery.begins()
    await recovery.over()


@fault("a frozen fold wakes after another took over", "its late appends change nothing", "the freeze")
async def frozen_fold(job: MainJob, recovery: Recovery) -> None:
    """Freeze it past its session beside another, then thaw it."""
    job.start("fold", "fold-2")
    await asyncio.sleep(4)
    frozen = job.workers["fold"].pid
    os.kill(frozen, signal.SIGSTOP)
    recovery.begins()
    try:
        await recovery.over()
        await asyncio.sleep(SESSION_SECONDS / 5)
    finally:
        os.kill(frozen, signal.SIGCONT)
    await asyncio.sleep(3)
    await job.leave("fold-2")


@fault("the fold has a fifth of a core", "it stays in its group and lags", "it has all of it again")
async def slow_fold(job: MainJob, recovery: Recovery) -> None:
    """Stop it for four fifths of ten seconds."""
    pid = job.workers["fold"].pid
    for _ in range(20):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.4)
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.1)
    recovery.begins()
    await recovery.over()


@fault("half of the traffic is one customer's", "its partition has the others' work besides; all is folded", "its end")
async def hot_key(job: MainJob, recovery: Recovery) -> None:
    """Publish half of everything for one customer."""
    job.hot = 0.5
    await asyncio.sleep(6)
    job.hot = 0.0
    recovery.begins()
    await recovery.over()


def _broker_restarted(*, kill: bool) -> Do:
    async def do(job: MainJob, recovery: Recovery) -> None:
        _platform(job).stop_broker(kill=kill)
        await asyncio.sleep(1)
        _platform(job).start_broker()
        recovery.begins()
        await recovery.over()

    return do


fault("the broker is restarted", "workers wait, heal in place and go on", "it answers")(_broker_restarted(kill=False))
fault("the broker is killed and started again", "the same; what was not acknowledged is sent again", "it answers")(
    _broker_restarted(kill=True)
)


def _broker_frozen(seconds: float) -> Do:
    async def do(job: MainJob, recovery: Recovery) -> None:
        platform = _platform(job)
        platform.freeze_broker(frozen=True)
        try:
            await asyncio.sleep(seconds)
        finally:
            platform.freeze_broker(frozen=False)
        recovery.begins()
        await recovery.over()

    return do


fault("the broker is frozen for 8 s", "clients wait", "the thaw")(_broker_frozen(8))
fault(
    "the broker is frozen for 45 s",
    "sends are abandoned after 30 s: new producers, states restored",
    "the thaw",
    takes_long=True,
)(_broker_frozen(45))


@fault(
    "router, fold and coordinator start while the broker is away",
    "they wait for it and say so; old sessions must end",
    "it answers",
)
async def started_without_broker(job: MainJob, recovery: Recovery) -> None:
    """Start them between its end and its start."""
    for role in ROLES:
        job.kill(role)
    _platform(job).stop_broker(kill=True)
    job.start_all()
    await asyncio.sleep(8)
    for role in ROLES:
        assert job.workers[role].poll() is None, job.logs()
        assert re.search("Kafka is waited for|cannot be read yet", job.log(role)), job.logs()
    _platform(job).start_broker()
    recovery.begins()
    await recovery.over()


@fault("the broker's disk is full", "it ends at the first write that fails; workers wait", "it has room and answers")
async def disk_full(job: MainJob, recovery: Recovery) -> None:
    """Let no file of the broker grow beyond what the journal's largest has: Kafka does the same as without space."""
    platform = _platform(job)
    pid = platform.status().kafka_pid
    assert pid is not None
    journal = (platform.folder / "kafka" / "data").glob(f"{topics.JOURNAL}-*/*.log")
    full = max(path.stat().st_size for path in journal)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    async with asyncio.timeout(60):
        while process.is_alive(pid):
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    platform.start_broker()
    recovery.begins()
    await recovery.over()


@fault("Valkey with the keys is frozen for 9 s", "the router waits and says so, the fold goes on", "the thaw")
async def key_store_away(job: MainJob, recovery: Recovery) -> None:
    """Freeze it; nothing may go out unsealed."""
    valkey = _platform(job).status().valkey_pid
    assert valkey is not None
    said = job.log("router").count(" waits: ")
    os.kill(valkey, signal.SIGSTOP)
    try:
        await asyncio.sleep(9)
        async with asyncio.timeout(60):  # it may have come up with what came before only now
            while job.log("router").count(" waits: ") == said:
                await asyncio.sleep(0.1)
    finally:
        os.kill(valkey, signal.SIGCONT)
    recovery.begins()
    await recovery.over()


@fault(
    "the changelog is deleted under the running fold",
    "the fold refuses it and says what to do: `attune worker fold --rebuild`",
    "the start of the rebuild",
)
async def changelog_lost(job: MainJob, recovery: Recovery) -> None:
    """Delete it, make it anew, wait for the refusal, rebuild."""
    folding = job.workers["fold"]
    await job.make_anew(topics.FOLD_CHANGELOG)
    assert await asyncio.to_thread(folding.wait, 60) != 0, job.logs()
    assert "--rebuild" in job.log("fold"), job.logs()
    recovery.begins()
    job.start("fold", None, "--rebuild")
    await recovery.over()
    await job.leave("fold")
    job.start("fold")


@fault("the coordinator's clock is an hour fast", "event time runs ahead, then stands until it is reached", "its end")
async def fast_clock(job: MainJob, recovery: Recovery) -> None:
    """Let another tell the time for four seconds."""
    job.kill("coordinator")
    job.start("coordinator", clock=3_600)
    await asyncio.sleep(6)
    job.kill("coordinator")
    job.start("coordinator")
    recovery.begins()
    await recovery.over()


@fault("the fold's clock is an hour slow", "nothing: the journal alone tells the time", "its start")
async def slow_clock(job: MainJob, recovery: Recovery) -> None:
    """Fold with a wrong clock, then with the right one."""
    await job.leave("fold")
    recovery.begins()
    job.start("fold", clock=-3_600)
    await recovery.over()
    await job.leave("fold")
    job.start("fold")


@fault("producers are renewed after 200 records of a partition", "old ones drain, nothing is doubled", "its start")
async def producers_renewed(job: MainJob, recovery: Recovery) -> None:
    """Renew as at 2^30, all the time."""
    await job.leave("fold")
    recovery.begins()
    job.start("fold", sequence_limit=200)
    await recovery.over()
    await asyncio.sleep(3)
    assert "renewing the producer" in job.log("fold"), job.logs()
    await job.leave("fold")
    job.start("fold")


@dataclasses.dataclass(frozen=True)
class Measured:
    """How long one recovery took."""

    fault: str
    seconds: float


async def go_wrong(job: MainJob, faults: list[Fault], *, pace: float = 500.0) -> list[Measured]:
    """Let faults happen one after the other while interactions flow; whoever called asks the oracle."""
    recovery = Recovery(job.settings.kafka)
    found: list[Measured] = []
    async with job.publishing(pace=pace):
        await job.at_work()
        for one in faults:
            try:
                await one.do(job, recovery)
            except Exception as error:
                error.add_note(f"while: {one.name}\n{job.logs()}")
                raise
            found.append(Measured(one.name, recovery.seconds))
            job.restart_what_died()
    return found
