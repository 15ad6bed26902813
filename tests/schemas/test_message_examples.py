"""An example of each message: valid, unchanged by the codec, true to its topic."""

import fastavro
import pytest

from schemas import codec, headers, message_examples, records, topics, versions, vocabulary
from schemas.catalogue import CATALOGUE
from schemas.identity import is_surrogate, is_surrogate_key

NAMES = sorted(versions.CURRENT)
EXAMPLES = [example for name in NAMES for example in message_examples.load(name)]


@pytest.mark.parametrize("name", NAMES)
def test_every_message_has_an_example(name: str) -> None:
    """At least one, and its file is named as the schema."""
    assert [example for example in EXAMPLES if example.schema == name]
    assert {path.stem for path in message_examples.FOLDER.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.schema}-{e.name}")
def test_an_example_is_valid_and_survives_the_codec(example: message_examples.Example) -> None:
    """The payload fits its schema, goes through codec and typed record unchanged, and comes out as the same JSON."""
    record = example.record()
    value = codec.encode(example.schema, record)
    assert codec.decode(value, example.schema) == record
    typed = getattr(records, example.schema).decode(value)
    assert typed.to_dict() == record
    assert typed.encode() == value
    full = fastavro.parse_schema(versions.CURRENT[example.schema])
    assert fastavro.validate({**record}, full, raise_errors=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.schema}-{e.name}")
def test_an_example_keeps_the_rules_of_its_topic(example: message_examples.Example) -> None:
    """Topic, key and headers are as the catalogue and the header names say."""
    topic = CATALOGUE.topics[example.topic]
    assert example.schema in topic.schemas
    known = {value for name, value in vars(headers).items() if name.isupper() and isinstance(value, str)}
    assert all(
        name in known or name.startswith("__connect.errors.") or name == "attune-encrypted" for name in example.headers
    )
    if example.key is not None and topic.key.startswith("the customer's surrogate"):
        assert is_surrogate(example.key)
    if example.schema == "Interaction":
        record = example.record()
        assert example.headers[headers.TYPE] == headers.INTERACTION_PREFIX + record["type"]
        assert example.headers[headers.TIME] == headers.rfc3339(record["occurred_at"])
        in_the_clear = record["personal"] is not None and "identifiers" in record["personal"]
        assert (example.headers.get(headers.PERSONAL) == "1") == in_the_clear
        assert not (in_the_clear and example.topic == topics.JOURNAL)


def test_an_undeclared_event_type_is_valid() -> None:
    """An example shows it: it is no member of EventType and passes schema and codec."""
    (example,) = (found for found in EXAMPLES if found.name == "undeclaredType")
    record = example.record()
    assert record["type"] not in set(vocabulary.EventType)
    assert codec.decode(codec.encode("Interaction", record)) == record


def test_a_connectors_answer_is_keyed_by_surrogate() -> None:
    """The example of a dispatch shows the key form that a connector uses."""
    (example,) = (found for found in EXAMPLES if found.name == "dispatchedByConnector")
    assert example.key is not None
    assert is_surrogate_key(example.key.encode())
    assert example.record()["decision_id"]
