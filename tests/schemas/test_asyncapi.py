"""The AsyncAPI document: fresh, and valid by the official schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from schemas import asyncapi, topics
from schemas.catalogue import CATALOGUE


def _validator() -> Draft7Validator:
    schema = json.loads((Path(__file__).parent / "vendor" / "asyncapi-3.0.0.json").read_text())
    return Draft7Validator(schema)


def test_the_asyncapi_document_is_fresh() -> None:
    """`python -m schemas.asyncapi` would write what is committed."""
    assert asyncapi.FILE.read_text() == asyncapi.text(), "run `python -m schemas.asyncapi` and commit the result"


def test_the_asyncapi_document_is_valid() -> None:
    """By the official JSON schema of AsyncAPI 3.0.0; every reference leads somewhere."""
    document = yaml.safe_load(asyncapi.FILE.read_text())
    assert [f"{list(error.absolute_path)}: {error.message[:200]}" for error in _validator().iter_errors(document)] == []
    for reference in _references(document):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/")]
        assert place


@pytest.mark.parametrize(
    "break_it",
    [
        lambda d: d.update(asyncapi="3.0"),
        lambda d: d["info"].pop("title"),
        lambda d: d["operations"]["receive-crm.interactions.v1"].update(action="read"),
        lambda d: d["channels"]["crm.interactions.v1"]["bindings"]["kafka"].update(partitions=0),
        lambda d: d["components"]["messages"]["Interaction"]["payload"]["schema"].update(type="recrod"),
        lambda d: d["components"]["messages"]["Interaction"].update(key="x"),
    ],
)
def test_the_validator_finds_what_is_invalid(break_it: Any) -> None:
    """The vendored schema refuses broken documents, so that its silence means something."""
    document = yaml.safe_load(asyncapi.FILE.read_text())
    break_it(document)
    assert list(_validator().iter_errors(document))


def test_only_public_topics_are_published() -> None:
    """The journal, changelogs and documents are our own affair."""
    document = yaml.safe_load(asyncapi.FILE.read_text())
    assert set(document["channels"]) == {topic.name for topic in CATALOGUE.topics.values() if topic.public}
    assert topics.JOURNAL not in document["channels"]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
