"""The contract against a real Apicurio: what is missing is registered, what differs is told, what breaks is refused."""

import asyncio
import copy
import json
import secrets
import string
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.cli import main
from agents.ops import registry
from agents.ops.registry import Aspect
from schemas import catalogue, versions
from schemas.catalogue import FILE, Catalogue
from schemas.codec import schema_id_of
from schemas.errors import RegistryRefused
from schemas.registry import COMPATIBILITY, RemoteRegistry, publish_all
from tests.conftest import Registry

CONTROL = [version for version in versions.PUBLISHED if version.name == "Control"]


@pytest.fixture
def domain() -> str:
    """A domain of this test alone, so that its subjects are no other test's."""
    return "t" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(10))


@pytest.fixture
def committed(domain: str) -> Catalogue:
    """The committed catalogue in that domain."""
    return catalogue.load(FILE.read_text().replace("crm.", f"{domain}."))


@pytest.fixture
async def client(apicurio_registry: Registry) -> AsyncIterator[RemoteRegistry]:
    async with RemoteRegistry(apicurio_registry.url) as remote:
        yield remote


def changed(**field: Any) -> dict[str, Any]:
    """Return the schema Interaction with one field more."""
    schema = copy.deepcopy(dict(versions.CURRENT["Interaction"]))
    schema["fields"].append(field)
    return schema


async def test_what_is_missing_is_published_and_then_nothing_differs(
    client: RemoteRegistry, committed: Catalogue
) -> None:
    """Everything is missing at first; afterwards each subject holds its history, and publishing again does nothing."""
    subjects = list(committed.subjects())
    planned = await registry.compare(client, subjects)
    assert [(found.subject, found.aspect) for found in planned] == [(name, Aspect.EXISTENCE) for name, _ in subjects]
    done = await registry.publish(client, subjects)
    assert (done.applied, done.left) == (planned, [])
    again = await registry.publish(client, subjects)
    assert (again.applied, again.left) == ([], [])
    for subject, name in subjects:
        assert await client.compatibility(subject) == COMPATIBILITY
        newest = await client.newest(subject)
        assert newest is not None
        assert newest.number == versions.LATEST[name].number
        assert newest.schema_id == await client.find(subject, versions.CURRENT[name])


async def test_planning_registers_nothing(client: RemoteRegistry, committed: Catalogue) -> None:
    """After a plan no subject exists."""
    await registry.compare(client, committed.subjects())
    assert [await client.newest(subject) for subject, _ in committed.subjects()] == [None] * len(
        list(committed.subjects())
    )


async def test_two_that_publish_at_once_both_succeed(client: RemoteRegistry, committed: Catalogue) -> None:
    """A schema that another registered meanwhile is no error, and no version is there twice."""
    await asyncio.gather(*(publish_all(client, committed.subjects()) for _ in range(3)))
    assert await registry.compare(client, committed.subjects()) == []


async def test_the_codec_writes_with_the_ids_of_the_registry(
    client: RemoteRegistry, committed: Catalogue, domain: str
) -> None:
    """What it writes bears the id that the registry gave, and what the first version wrote is read with its own."""
    codec = await publish_all(client, committed.subjects())
    subject = f"{domain}.next-best-actions.v1-value"
    newest = await client.newest(subject)
    assert newest is not None
    assert codec.ids["NextBestAction"] == newest.schema_id
    event = {"type": "visit.made", "event_id": "1", "occurred_at": 5}
    value = codec.encode("Interaction", event)
    assert await client.find(f"{domain}.interactions.v1-value", versions.CURRENT["Interaction"]) == schema_id_of(value)
    assert codec.decode(value, "Interaction")["event_id"] == "1"
    first = await client.find(subject, next(one for one in versions.PUBLISHED if one.name == "NextBestAction").schema)
    assert first is not None
    assert first != newest.schema_id
    assert codec.knows(first)


async def test_later_versions_follow_and_an_earlier_one_that_was_left_out_stays_out(
    client: RemoteRegistry, domain: str
) -> None:
    """A release with a newer version registers that alone: a registry only appends."""
    subject = f"{domain}-value"
    await client.register(subject, CONTROL[1].schema)
    planned = await registry.compare(client, [(subject, "Control")])
    assert [(found.aspect, found.version) for found in planned] == [(Aspect.COMPATIBILITY, None), (Aspect.VERSION, 3)]
    assert [str(found) for found in planned] == [
        f"{subject}: compatibility is NONE, the contract says {COMPATIBILITY}",
        f"{subject}: Control version 3 is not registered",
    ]
    done = await registry.publish(client, [(subject, "Control")])
    assert (len(done.applied), done.left) == (2, [])
    assert await client.find(subject, CONTROL[0].schema) is None
    newest = await client.newest(subject)
    assert newest is not None
    assert newest.number == 2


async def test_a_version_of_somebody_else_is_told_and_left_alone(client: RemoteRegistry, domain: str) -> None:
    """A compatible version after ours breaks nothing, but this release does not know it."""
    subject = f"{domain}-value"
    await registry.publish(client, [(subject, "Interaction")])
    theirs = await client.register(subject, changed(name="mood", type="string", default=""))
    done = await registry.publish(client, [(subject, "Interaction")])
    assert done.applied == []
    (left,) = done.left
    assert (left.aspect, left.found, left.appliable) == (Aspect.NEWEST, f"2 (id {theirs})", False)
    assert "upgrade Attune if a newer release registered it" in str(left)


async def test_an_incompatible_change_is_refused(client: RemoteRegistry, domain: str) -> None:
    """Apicurio's global level is NONE: without the level of the subject it would take anything."""
    subject = f"{domain}-value"
    await registry.publish(client, [(subject, "Interaction")])
    worse = changed(name="mood", type="string")
    assert len(await client.incompatibilities(subject, worse)) == 1
    with pytest.raises(RegistryRefused, match=r"409 .*mood"):
        await client.register(subject, worse)
    better = changed(name="mood", type="string", default="")
    assert await client.incompatibilities(subject, better) == ()
    assert await client.register(subject, better) > 0


async def test_when_one_schema_is_refused_none_is_registered(client: RemoteRegistry, domain: str) -> None:
    """The subject, the field and the registry's reason are told; the others stay unregistered, so nothing is half."""
    broken, other = f"{domain}-broken-value", f"{domain}-other-value"
    theirs = copy.deepcopy(dict(versions.CURRENT["Interaction"]))
    theirs["fields"] = [field for field in theirs["fields"] if field["name"] != "event_id"]
    await client.register(broken, theirs)
    done = await registry.publish(client, [(other, "Interaction"), (broken, "Interaction")])
    assert [found.aspect for found in done.applied] == [Aspect.COMPATIBILITY]
    assert [(found.subject, found.appliable) for found in done.left] == [(other, True), (broken, False)]
    told = str(done.left[1])
    assert told.startswith(f"{broken}: Interaction version 1 is not registered; the registry refuses it: ")
    assert "event_id" in told
    assert await client.newest(other) is None
    assert await client.find(broken, versions.CURRENT["Interaction"]) is None


@pytest.fixture
def attune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs `attune registry ARGUMENTS` and returns its code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attune", "registry", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_the_command_plans_publishes_and_checks(
    apicurio_registry: Registry, committed: Catalogue, attune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 while something differs, 0 afterwards; --json prints one object."""
    monkeypatch.setenv("ATTUNE_REGISTRY__URL", apicurio_registry.url)
    monkeypatch.setattr(catalogue, "CATALOGUE", committed)
    subjects = len(list(committed.subjects()))

    def run(command: str) -> tuple[int, Any]:
        code, out, _ = attune(command, "--json")
        return code, json.loads(out)

    code, planned = run("plan")
    assert (code, planned["ok"], len(planned["differences"])) == (0, False, subjects)
    assert run("check")[0] == 1
    code, done = run("publish")
    assert (code, done["ok"], len(done["applied"]), done["differences"]) == (0, True, subjects, [])
    assert run("check") == (0, {"differences": [], "ok": True})
    assert run("plan") == (0, {"differences": [], "ok": True})
    assert attune("publish")[1] == "0 changes made\nthe registry has every schema of the contract\n"


def test_the_command_names_what_is_refused(
    apicurio_registry: Registry, committed: Catalogue, attune: Any, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1, with the subject and the field; check says the same of a level that somebody changed."""
    monkeypatch.setenv("ATTUNE_REGISTRY__URL", apicurio_registry.url)
    monkeypatch.setattr(catalogue, "CATALOGUE", committed)
    subject = f"{domain}.suppressions.v1-value"
    theirs = {"type": "record", "name": "Suppression", "namespace": "crm.v1", "fields": []}

    async def register() -> None:
        async with RemoteRegistry(apicurio_registry.url) as remote:
            await remote.register(subject, theirs)

    asyncio.run(register())
    code, out, _ = attune("check")
    assert code == 1
    assert f"{subject}: compatibility is NONE" in out
    code, out, _ = attune("publish")
    (line,) = [line for line in out.splitlines() if line.startswith(subject)]
    assert code == 1
    assert "the registry refuses it" in line
    assert versions.CURRENT["Suppression"]["fields"][0]["name"] in line


def test_no_registry_is_wrong_use(attune: Any) -> None:
    """Without registry.url: exit 2, with the variable to set."""
    code, _, told = attune("check")
    assert code == 2
    assert "ATTUNE_REGISTRY__URL" in told


@pytest.mark.parametrize("command", ["plan", "publish", "check"])
def test_an_absent_registry_is_an_error_that_says_what_to_do(
    attune: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Exit 1, the address, and the setting to look at."""
    monkeypatch.setenv("ATTUNE_REGISTRY__URL", "http://127.0.0.1:9")
    code, _, told = attune(command)
    assert code == 1
    assert "127.0.0.1:9" in told
    assert "registry.url" in told


def test_a_wrong_path_is_no_missing_subject(
    apicurio_registry: Registry, attune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real registry's address without its path answers 404 to everything: exit 1, and the path is named."""
    monkeypatch.setenv("ATTUNE_REGISTRY__URL", f"http://127.0.0.1:{apicurio_registry.port}")
    code, out, told = attune("check")
    assert (code, out) == (1, "")
    assert "/apis/ccompat/v7" in told


def test_credentials_that_no_header_carries_are_wrong_use(attune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token read from a file with its line break: exit 2, before anybody is asked, and the token is not shown."""
    monkeypatch.setenv("ATTUNE_REGISTRY__URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ATTUNE_REGISTRY__TOKEN", "s3cret\n")
    code, _, told = attune("check")
    assert code == 2
    assert "registry.token" in told
    assert "s3cret" not in told
