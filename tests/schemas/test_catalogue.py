"""The topic catalogue: complete, owned, free of contradictions."""

import pytest

from schemas import topics, versions
from schemas.catalogue import CATALOGUE, FILE, CatalogueError, load

NAMES = sorted(versions.CURRENT)


def test_every_topic_has_a_constant_and_every_constant_a_topic() -> None:
    """schemas.topics and the catalogue name the same topics."""
    constants = {value for name, value in vars(topics).items() if name.isupper() and name != "DEAD_LETTER_SUFFIX"}
    assert constants == set(CATALOGUE.topics)


def test_every_schema_is_used_and_every_topic_is_owned() -> None:
    """No schema without a topic; every topic has an owner, producers, consumers and a description."""
    assert {name for topic in CATALOGUE.topics.values() for name in topic.schemas} == set(NAMES)
    for topic in CATALOGUE.topics.values():
        assert topic.owner in CATALOGUE.owners
        assert all((topic.producers, topic.consumers, topic.description, topic.key))


def test_a_subject_holds_one_type() -> None:
    """By TopicNameStrategy for the topic's own type; the other types of a topic have subjects of their own."""
    subjects = list(CATALOGUE.subjects())
    assert len({subject for subject, _ in subjects}) == len(subjects)
    assert ("crm.interactions.v1-value", "Interaction") in subjects
    assert ("crm.interactions.v1-crm.v1.Control", "Control") in subjects


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("owner: channels", "owner: nobody", "owner 'nobody' is not among"),
        ("schemas: [Suppression]", "schemas: [Supression]", "schema 'Supression' does not exist"),
        ("schemas: [Suppression]", "schemas: [NextBestAction]", "schema Suppression is used by no topic"),
        ("retention: 30d", "retention: 1 month", "neither `forever` nor a number"),
        ("partitions: 6\n    same_partitions_as", "partitions: 5\n    same_partitions_as", "as many as crm.journal.v1"),
        ("same_partitions_as: crm.next-best-actions.v1", "same_partitions_as: crm.next.v1", "not in the catalogue"),
        ("crm.suppressions.v1:", "suppressions:", "<domain>.<entity>.v<n>"),
        ("crm.journal.v1.dlq:", "crm.diary.v1.dlq:", "dead letters of a topic that is not in the catalogue"),
        ("retention: 30d", "retension: 30d", "retension"),
        ("cleanup: compact", "cleanup: sometimes", "sometimes"),
        ("replication: 3", "replication: 0", "at least 1"),
        ("value: original", "value: avro", "value must be `original`"),
        ("owners:", "owners: [", "catalogue"),
    ],
)
def test_a_catalogue_that_contradicts_itself_is_refused(old: str, new: str, says: str) -> None:
    """Each contradiction is named, with its topic where it has one."""
    text = FILE.read_text()
    assert old in text
    with pytest.raises(CatalogueError, match=says):
        load(text.replace(old, new))


@pytest.mark.parametrize(
    ("topic", "other"),
    [(topics.FOLD_CHANGELOG, topics.JOURNAL), (topics.SUPPRESSIONS, topics.NEXT_BEST_ACTIONS)],
)
def test_topics_that_are_read_side_by_side(topic: str, other: str) -> None:
    """States lie beside their journal partition, and a connector finds a customer's suppressions beside the actions."""
    assert CATALOGUE.topics[topic].same_partitions_as == other
    assert CATALOGUE.topics[topic].partitions == CATALOGUE.topics[other].partitions
    assert CATALOGUE.topics[topics.SUPPRESSIONS].key == CATALOGUE.topics[topics.NEXT_BEST_ACTIONS].key


def test_settings_follow_the_replication() -> None:
    """One copy less than all must be in sync, at least one; an override reaches it."""
    topic = CATALOGUE.topics[topics.FOLD_CHANGELOG]
    assert CATALOGUE.settings(topic)["min.insync.replicas"] == "2"
    assert CATALOGUE.settings(topic, 1)["min.insync.replicas"] == "1"
    assert CATALOGUE.settings(topic)["cleanup.policy"] == "compact"
    assert CATALOGUE.settings(CATALOGUE.topics[topics.INTERACTIONS_DEAD])["retention.ms"] == str(14 * 86_400_000)
