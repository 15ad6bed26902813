"""The topology is the system: it agrees with the catalogue, and the drawing of it is fresh."""

from agents.cli.topology import FILE, redrawn
from agents.topology import TOPOLOGY, draw
from schemas.catalogue import CATALOGUE

READ = {topic for agent in TOPOLOGY for topic in agent.reads}
WRITTEN = {topic for agent in TOPOLOGY for topic in agent.writes}
STATES = {agent.state for agent in TOPOLOGY if agent.state is not None}


def test_every_topic_that_is_named_is_in_the_catalogue() -> None:
    """No process reads or writes a topic that `attune topics apply` would not create."""
    assert set(CATALOGUE.topics) >= READ | WRITTEN | STATES


def test_every_topic_of_the_catalogue_has_a_writer_and_a_reader() -> None:
    """A topic without one of them is a mistake, or the changelog of one process that is both."""
    wanted = set(CATALOGUE.topics)
    assert wanted == WRITTEN | STATES
    assert wanted == READ | STATES


def test_producers_and_consumers_are_those_of_the_catalogue() -> None:
    """What the catalogue says of our own processes is what they do."""
    for agent in TOPOLOGY:
        if agent.outside:
            continue
        for topic in agent.writes:
            assert agent.name in CATALOGUE.topics[topic].producers, (agent.name, topic)
        for topic in agent.reads:
            assert agent.name in CATALOGUE.topics[topic].consumers, (agent.name, topic)


def test_names_are_used_once() -> None:
    """Names of agents and groups tell them apart; an agent that keeps state has a group."""
    assert len({agent.name for agent in TOPOLOGY}) == len(TOPOLOGY)
    groups = [agent.group for agent in TOPOLOGY if agent.group is not None]
    assert len(set(groups)) == len(groups)
    assert all(agent.group for agent in TOPOLOGY if agent.state is not None)


def test_the_drawing_shows_every_agent_and_topic() -> None:
    """A fenced Mermaid chart with an arrow for each reading and writing."""
    lines = draw().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("```mermaid", "flowchart LR", "```")
    text = "\n".join(lines)
    assert all(f"<b>{agent.name}</b>" in text for agent in TOPOLOGY)
    assert all(f'("{topic}")' in text for topic in READ | WRITTEN | STATES)
    arrows = sum(len(agent.reads) + len(agent.writes) for agent in TOPOLOGY)
    assert sum(" --> " in line for line in lines) == arrows


def test_the_drawing_in_the_document_is_fresh() -> None:
    """`attune topology --write` draws it again, where there is a document."""
    if not FILE.exists():
        return
    text = FILE.read_text(encoding="utf-8")
    assert redrawn(text, draw(), FILE.name) == text, "stale: run `attune topology --write`"
