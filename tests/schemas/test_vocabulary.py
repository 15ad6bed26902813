"""The declared words against the schemas that spell them again."""

from typing import Any

import pytest

from schemas import versions, vocabulary
from tests.schemas.strategies import named_types


@pytest.mark.parametrize(
    ("schema", "enum"),
    [
        ("Interaction", vocabulary.Channel),
        ("NextBestAction", vocabulary.Channel),
        ("NextBestAction", vocabulary.DecisionKind),
        ("NextBestAction", vocabulary.ActionClass),
        ("Suppression", vocabulary.SuppressionStatus),
        ("Suppression", vocabulary.SuppressionReason),
        ("Suppression", vocabulary.ScopeKind),
        ("Control", vocabulary.DocumentKind),
    ],
)
def test_enums_are_those_of_the_schemas(schema: str, enum: Any) -> None:
    """The vocabulary's enum has the symbols of the Avro enum of the same name, in the same order."""
    assert [member.value for member in enum] == dict(named_types(versions.CURRENT[schema]))[enum.__name__]["symbols"]


def test_every_event_type_has_a_meaning() -> None:
    """A declared type has a stage, an actor and words; types are lower-case and dotted."""
    assert set(vocabulary.MEANINGS) == set(vocabulary.EventType)
    assert all(meaning.says for meaning in vocabulary.MEANINGS.values())
    assert all(event.value.count(".") == 1 and event.value.islower() for event in vocabulary.EventType)
    assert {meaning.stage for meaning in vocabulary.MEANINGS.values()} == set(vocabulary.LifeCycle)
