"""Who may do what on the cluster: each role's rights, from what the topology says that it reads and writes.

`grants` is least privilege: a role that lacks one of its rights does not work, and it has no other
(tests/deploy/test_acls.py tries both on a real broker).  Read, Write and the right to change imply Describe in Kafka,
so that it stands here only where nothing else does.  Writing idempotently needs no right of its own since Kafka 2.8:
who may write a topic may do it so.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from agents.topology import FOLD_GROUP, ROUTER_GROUP, TOPOLOGY, VIEWS_GROUP, Agent
from schemas import topics
from schemas.catalogue import CATALOGUE

ANY: Final = "*"
"""The name that Kafka takes for every resource of a kind."""
CONNECTOR_GROUP: Final = "demo-connector"
"""The group of `attune connector`."""


class Resource(StrEnum):
    """Kinds of resources, spelled as Strimzi and Kafka's JSON do."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactionalId"


class Operation(StrEnum):
    """Rights, spelled as kafka-acls.sh and Strimzi do."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Grant:
    """What is allowed on one resource, or with `prefixed` on all whose names begin so."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Role:
    """A kind of process or person, with a user of its own."""

    name: str
    does: str
    grants: tuple[Grant, ...]


_READ, _WRITE, _DESCRIBE = Operation.READ, Operation.WRITE, Operation.DESCRIBE
_ALL = tuple(CATALOGUE.topics)

_BESIDE: Mapping[str, tuple[Grant, ...]] = {
    # The end of the journal says how fresh the views are; a partition's states are published in a transaction with
    # the commit; `attune views rebuild` compares the topic of states with what it derived.
    "views": (
        Grant(Resource.TOPIC, topics.JOURNAL, (_DESCRIBE,)),
        Grant(Resource.TOPIC, topics.POLICIES, (_READ,)),
        Grant(Resource.TOPIC, topics.CUSTOMER_STATE, (_READ,)),
        Grant(Resource.TRANSACTIONAL_ID, f"{VIEWS_GROUP}-", (_WRITE,), prefixed=True),
    ),
    # Whether a version exists already and which one decides is read before anything is published.
    "marketing": tuple(
        Grant(Resource.TOPIC, topic, (_READ,)) for topic in (topics.POLICIES, topics.MODELS, topics.APPROVALS)
    ),
    # Which letters were returned before stands with the interactions; a letter that was cut is returned whole, from
    # where it stood.
    "operations": tuple(Grant(Resource.TOPIC, topic, (_READ,)) for topic in (topics.INTERACTIONS, topics.JOURNAL)),
    # Each connector and each team of analysts has a group of its own, whose name begins so.
    "connectors": (
        Grant(Resource.GROUP, CONNECTOR_GROUP, (_READ,)),
        Grant(Resource.GROUP, "connectors-", (_READ,), prefixed=True),
    ),
    "analysts": (Grant(Resource.GROUP, "analysts-", (_READ,), prefixed=True),),
}
"""What agents of the topology need besides reading, writing, their group and their state."""


def roles() -> tuple[Role, ...]:
    """Return every role: the agents of the topology, then those who only look, judge or set up."""
    tools = (
        Role("api", "`attune api`: reads Redis alone and has no user", ()),
        Role(
            "exporter",
            "`attune exporter` and `attune lag`: any group, as far as it reads topics of the catalogue",
            (
                Grant(Resource.GROUP, ANY, (_DESCRIBE,)),
                *(Grant(Resource.TOPIC, topic, (_READ, *_configs(topic))) for topic in _ALL),
            ),
        ),
        Role(
            "auditors",
            "`attune prove`, `replay`, `as-of`, `customer show`: read everything, write nothing",
            (
                *(Grant(Resource.TOPIC, topic, (_READ,)) for topic in _ALL),
                *(Grant(Resource.GROUP, group, (_DESCRIBE,)) for group in (ROUTER_GROUP, FOLD_GROUP)),
            ),
        ),
        Role(
            "deployer",
            "`attune topics plan | apply | check`: makes topics and their configuration, reads no record",
            tuple(
                Grant(
                    Resource.TOPIC,
                    topic,
                    (Operation.CREATE, _DESCRIBE, Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS),
                )
                for topic in _ALL
            ),
        ),
    )
    return (*(Role(agent.name, agent.does, tuple(_merged(_of(agent)))) for agent in TOPOLOGY), *tools)


def role(name: str) -> Role:
    """Return a role by its name; KeyError where there is none."""
    return {found.name: found for found in roles()}[name]


def principals(overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the principal of every role that has rights: `User:attune-<role>` unless it is overridden."""
    chosen = overrides or {}
    return {found.name: chosen.get(found.name, f"User:attune-{found.name}") for found in roles() if found.grants}


def needed_to_work(name: str) -> tuple[Grant, ...]:
    """Return those rights of a role of the topology without which its process cannot do its work.

    Left out is what stands beside the topology: what a command of the same user needs, and rights to all whose names
    begin so, where the user may have them one by one.
    """
    (agent,) = (agent for agent in TOPOLOGY if agent.name == name)
    return tuple(_merged(_by_topology(agent)))


def _of(agent: Agent) -> Iterator[Grant]:
    yield from _by_topology(agent)
    yield from _BESIDE.get(agent.name, ())


def _by_topology(agent: Agent) -> Iterator[Grant]:
    for topic in agent.reads:
        yield Grant(Resource.TOPIC, topic, (_READ,))
    for topic in agent.writes:
        yield Grant(Resource.TOPIC, topic, (_WRITE,))
    if agent.state is not None:
        yield Grant(Resource.TOPIC, agent.state, (_READ, _WRITE))
    if agent.group is not None:
        yield Grant(Resource.GROUP, agent.group, (_READ,))


def _configs(topic: str) -> tuple[Operation, ...]:
    """Return the right to read a configuration where dead letters expire: the exporter says when."""
    return (Operation.DESCRIBE_CONFIGS,) if topic.endswith(topics.DEAD_LETTER_SUFFIX) else ()


def _merged(grants: Iterable[Grant]) -> Iterator[Grant]:
    """Yield one grant for each resource, with all its operations in the order of `Operation`."""
    found: dict[tuple[Resource, str, bool], set[Operation]] = {}
    for grant in grants:
        found.setdefault((grant.resource, grant.name, grant.prefixed), set()).update(grant.operations)
    for (resource, name, prefixed), operations in found.items():
        implied = {_DESCRIBE} if operations & {_READ, _WRITE} else set()
        ordered = tuple(one for one in Operation if one in operations - implied)
        yield Grant(resource, name, ordered, prefixed)
