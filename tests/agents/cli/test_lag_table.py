"""`attune lag` and `attune exporter` as a person meets them: nothing is cut in 80 columns, wrong use is explained."""

import io
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from rich.console import Console

from agents.cli import lag
from agents.ops.lag import GroupLag, PartitionLag, Status
from agents.ops.members import Member
from agents.settings import Settings

TOPIC = "crm.interactions.v1"


def printed(found: list[GroupLag], width: int = 80) -> str:
    """Return what a terminal of that width would show."""
    out = io.StringIO()
    Console(file=out, width=width).print(lag._table(found))
    return out.getvalue()


def group(*members: Member, committed: int = 1_234_567_890) -> GroupLag:
    """Return a group with one partition for each member, figures as large as they come."""
    partitions = tuple(
        PartitionLag(
            TOPIC, number, committed, 0, committed + 9_999_999, 9_999_999, 86_400.4, -12_345.6, 1.0, Status.STALL, owner
        )
        for number, owner in enumerate(members)
    )
    return GroupLag("attune-router", "Stable", members, partitions)


def test_nothing_is_cut_in_eighty_columns() -> None:
    """Offsets of billions, a day of lag and long names: every figure and every name stands there whole."""
    names = [f"attune-0f3c7a52-6e1c-416b-b0ce-f8b039dfc6d{number}" for number in range(2)]
    members = [
        Member("attune", "worker-7.crm.eu-central.example.com", name, (TopicPartition(TOPIC, number),))
        for number, name in enumerate(names)
    ]
    text = printed([group(*members)])
    assert "…" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    whole = " ".join(text.split())
    for name in names:
        assert f"{name} at worker-7.crm.eu-central.example.com" in whole
    for figure in ("1,234,567,890", "1,244,567,889", "9,999,999", "86400.4", "▼ 12,345.6/s", "STALL"):
        assert figure in text
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(("0 ", "1 "))]
    assert [(row[0], row[-1]) for row in rows] == [("0", "1"), ("1", "2")]


def test_a_member_whose_name_does_not_say_its_client_is_shown_with_both() -> None:
    """librdkafka's members of the newer protocol are random: the client's id stands before."""
    assert "member 1: rdkafka tc80Uf2ERBe03oODLyVc5Q at 10.0.0.7" in printed(
        [group(Member("rdkafka", "10.0.0.7", "tc80Uf2ERBe03oODLyVc5Q", ()))]
    )


def test_names_with_brackets_are_no_markup() -> None:
    """Groups and topics of others may be called anything."""
    odd = GroupLag("[red]odd[/red]", "Empty", (), ())
    assert "[red]odd[/red]" in printed([odd])


def test_a_watch_outlives_a_cluster_that_does_not_answer() -> None:
    """A look that fails is told, and the next one counts."""
    import asyncio

    from aiokafka.errors import KafkaConnectionError

    answers: list[Any] = [KafkaConnectionError("no broker"), [group()]]

    async def look() -> list[Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    found, trouble = asyncio.run(lag._attempt(look))
    assert found is None
    assert trouble is not None
    assert "no broker" in trouble
    found, trouble = asyncio.run(lag._attempt(look))
    assert trouble is None
    assert [item.group for item in found] == ["attune-router"]


@pytest.mark.kafka
def test_lag_as_json_names_members(connected: Settings, attune: Callable[..., Any]) -> None:
    """For scripts: one object; a group that is not there fails with what to do."""
    done = attune("lag", "--json")
    assert done.code == 0
    assert isinstance(json.loads(done.out)["groups"], list)
    done = attune("lag", "--group", "never-was")
    assert done.code == 1
    assert "there is no group never-was" in done.err


@pytest.mark.kafka
def test_an_exporter_whose_port_is_taken(connected: Settings, attune: Callable[..., Any]) -> None:
    """It ends with exit code 1 and says which port, rather than to run unseen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = attune("exporter", "--port", str(port))
    assert done.code == 1
    assert f"metrics cannot be served on 127.0.0.1:{port}" in done.err


def test_wrong_flags_of_the_exporter(attune: Callable[..., Any]) -> None:
    """A port that cannot be and an interval that is too short are wrong use: exit code 2."""
    assert attune("exporter", "--port", "70000").code == 2
    assert attune("exporter", "--interval", "0").code == 2
