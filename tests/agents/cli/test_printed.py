"""Tables go into a pipe whole."""

import pytest
from rich.table import Table

from agents.cli import printed

LONG = "a reason of many words " * 20


@pytest.fixture
def table() -> Table:
    made = Table(box=None)
    made.add_row("interactions/12", LONG)
    return made


def test_a_row_is_one_line_in_a_pipe(
    table: Table, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`attune dlq list | grep` finds what stands in one row on one line, and no line is filled up with spaces."""
    monkeypatch.delenv("COLUMNS", raising=False)
    printed.table(table)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert LONG.strip() in line
    assert len(line) < 2 * len(LONG)


def test_columns_that_somebody_asked_for_are_kept(
    table: Table, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With COLUMNS in the environment a table is as wide as that says, wherever it goes."""
    monkeypatch.setenv("COLUMNS", "60")
    printed.table(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
