"""The whole system on one screen: who reads what, who writes what, who keeps state.

ARCHITECTURE.md is drawn from `TOPOLOGY` (`attune topology --write`), and a test fails when the
drawing is stale.  `router_job` and `fold_job` are the same lines made runnable.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents.engine.job import Job
from agents.engine.records import Output, Record
from agents.journal.router import DEAD_LETTER_KEY, Router, Vault
from schemas import deadletter, deadletter_envelope, headers, topics
from schemas.catalogue import CATALOGUE
from schemas.codec import EMBEDDED
from streams import growth
from streams.state import STATE_CODEC
from streams.step import Core


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """One kind of process.  `group` is its consumer group, `state` its private topic: a changelog, or marks."""

    name: str
    does: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    group: str | None = None
    state: str | None = None
    outside: bool = False
    """Not ours: a channel, a connector, a person."""


ROUTER_GROUP = "attune-router"
FOLD_GROUP = "attune-fold"
COORDINATOR_GROUP = "attune-coordinator"
VIEWS_GROUP = "attune-views"

NEW_JOURNAL = "begin a new journal (deploy/README.md, A new journal)"
"""What to do where interactions or journal were deleted and made anew on purpose."""

LARGEST_STATE = 400_000
"""Bytes; no sequence of valid events makes a larger one (tests/streams/test_largest.py)."""

TOPOLOGY = (
    Agent("channels", "publish what customers did", (), (topics.INTERACTIONS,), outside=True),
    Agent(
        "router",
        "one customer, one partition; seals personal data; stamps origin and schema",
        (topics.INTERACTIONS, topics.APPROVALS),
        (topics.JOURNAL, topics.INTERACTIONS_DEAD),
        group=ROUTER_GROUP,
        state=topics.ROUTER_MARKS,
    ),
    Agent(
        "marketing",
        "publishes policies and models, approves them",
        (),
        (topics.POLICIES, topics.MODELS, topics.APPROVALS),
        outside=True,
    ),
    Agent(
        "coordinator",
        "ticks of the clock, activations of approved documents",
        (topics.APPROVALS, topics.POLICIES, topics.MODELS),
        (topics.JOURNAL,),
        group=COORDINATOR_GROUP,
    ),
    Agent(
        "fold",
        "state, churn risk, suppressions, decisions: a pure function of one journal partition",
        (topics.JOURNAL, topics.POLICIES, topics.MODELS),
        (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS, topics.JOURNAL_DEAD),
        group=FOLD_GROUP,
        state=topics.FOLD_CHANGELOG,
    ),
    Agent(
        "views",
        "state, current actions, suppressions by customer, in Redis; states in a topic",
        (topics.FOLD_CHANGELOG, topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS, topics.MODELS),
        (topics.CUSTOMER_STATE,),
        group=VIEWS_GROUP,
    ),
    Agent(
        "analysts",
        "join the newest state of each customer with data of their own",
        (topics.CUSTOMER_STATE,),
        (),
        outside=True,
    ),
    Agent(
        "operations",
        "look at dead letters, put right what was wrong, return them",
        (topics.INTERACTIONS_DEAD, topics.JOURNAL_DEAD),
        (topics.INTERACTIONS,),
        outside=True,
    ),
    Agent(
        "connectors",
        "check again, deliver, report what happened as interactions",
        (topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS),
        (topics.INTERACTIONS,),
        outside=True,
    ),
)


def router_job(router: Router, vault: Vault, *, name: str = ROUTER_GROUP, max_batch_records: int = 2_000) -> Job:
    """Return the router: stateless, one batch in flight, so that origins arrive in order."""

    def dead_letter(record: Record, error: BaseException) -> Output:
        """Seal the whole record: an interaction that was not understood may hold personal data anywhere."""
        kept, marks = deadletter.cut(deadletter.Original(record.key, record.value, list(record.headers)))
        block = vault.seal(DEAD_LETTER_KEY, deadletter_envelope.pack(kept))
        failure = deadletter.failure(
            record.topic, record.partition, record.offset, deadletter.Stage.TRANSFORMATION, "attune.router", error
        )
        own = [(headers.CONTENT_TYPE, headers.AVRO), *deadletter.returns(record.headers)]
        return Output(
            topics.INTERACTIONS_DEAD,
            None,
            EMBEDDED.encode("DeadLetterEnvelope", block._asdict()),
            [*deadletter.headers(own, failure, encrypted=True), *marks],
        )

    return Job(
        name=name,
        source=topics.INTERACTIONS,
        step=router,
        outputs=(topics.JOURNAL, topics.INTERACTIONS_DEAD),
        dead_letter=dead_letter,
        marks=topics.ROUTER_MARKS,
        new_source=NEW_JOURNAL,
        prepare=router.prepare,
        in_flight=1,
        max_batch_records=max_batch_records,
        expected_partitions={topics.JOURNAL: router.partitions},
        may_grow=True,
    )


def fold_job(
    documents: Mapping[str, bytes], *, name: str = FOLD_GROUP, max_batch_records: int = 2_000, **changes: Any
) -> Job:
    """Return the fold: the pure core over one journal partition, state in its own changelog."""
    return Job(
        name=name,
        source=topics.JOURNAL,
        step=Core(documents),
        outputs=(topics.NEXT_BEST_ACTIONS, topics.SUPPRESSIONS, topics.JOURNAL_DEAD),
        dead_letter=fold_dead_letter,
        codec=STATE_CODEC,
        changelog=topics.FOLD_CHANGELOG,
        new_source=NEW_JOURNAL,
        position_header=headers.POSITION,
        max_batch_records=max_batch_records,
        max_state_bytes=LARGEST_STATE,
        expected_partitions={topics.JOURNAL: CATALOGUE.topics[topics.JOURNAL].partitions},
        may_grow=True,
        muted=growth.is_copied,
        **changes,
    )


def fold_dead_letter(record: Record, error: BaseException) -> Output:
    """Keep a journal record as it is: its key is a surrogate and its personal block is sealed already."""
    own = deadletter.original_headers(record.headers)
    kept, marks = deadletter.cut(deadletter.Original(record.key, record.value, own))
    failure = deadletter.failure(
        record.topic, record.partition, record.offset, deadletter.Stage.TASK_PUT, "attune.fold", error
    )
    return Output(topics.JOURNAL_DEAD, kept.key, kept.value, [*deadletter.headers(kept.headers, failure), *marks])


def draw() -> str:
    """Return the topology as a Mermaid flow chart."""
    lines = ["```mermaid", "flowchart LR"]
    written = {
        topic for agent in TOPOLOGY for topic in (*agent.reads, *agent.writes, *([agent.state] if agent.state else []))
    }
    for agent in TOPOLOGY:
        left, right = ("([", "])") if agent.outside else ("[", "]")
        lines.append(f'  {agent.name}{left}"<b>{agent.name}</b><br/>{agent.does}"{right}')
    lines += [f'  {_identifier(topic)}[("{topic}")]' for topic in CATALOGUE.topics if topic in written]
    for agent in TOPOLOGY:
        lines += [f"  {_identifier(topic)} --> {agent.name}" for topic in agent.reads]
        lines += [f"  {agent.name} --> {_identifier(topic)}" for topic in agent.writes]
        if agent.state is not None:
            lines.append(f"  {agent.name} <-. state .-> {_identifier(agent.state)}")
    return "\n".join([*lines, "```"])


def _identifier(topic: str) -> str:
    return topic.replace(".", "_").replace("-", "_")
