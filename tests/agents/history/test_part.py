"""Parts and checkpoints: what survives of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from agents.errors import AttuneError
from agents.history import part as parts
from agents.history.part import Checkpoint, Part, part_path, read_checkpoint


def test_what_was_not_marked_is_cut_off(tmp_path: Path) -> None:
    """A part goes on where its checkpoint ended, whatever stands behind it."""
    part = Part(tmp_path, 3)
    part.add(b"one\n", next_offset=10, given=1, refused=0)
    part.mark()
    part.add(b"two, which was torn", next_offset=20, given=1, refused=1)
    part.close()
    again = Part(tmp_path, 3)
    assert again.checkpoint == Checkpoint(next=10, size=4, given=1)
    again.add(b"two\n", next_offset=20, given=1, refused=1, met=["ann"])
    again.mark(done=True)
    again.close()
    assert part_path(tmp_path, 3).read_bytes() == b"one\ntwo\n"
    assert read_checkpoint(tmp_path, 3) == Checkpoint(next=20, size=8, given=2, refused=1, met=("ann",), done=True)


def test_only_one_process_works_on_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused while the first lives, and let in after its death."""
    monkeypatch.setattr(parts, "_LOCK_SECONDS", 0.2)
    code = (
        "import sys, time; from pathlib import Path; from agents.history.part import Part; "
        "one = Part(Path(sys.argv[1]), 0); print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(AttuneError, match="another replay works"):
            Part(tmp_path, 0)
    finally:
        other.kill()
        other.communicate()
    Part(tmp_path, 0).close()


def test_a_checkpoint_that_says_nothing_is_told(tmp_path: Path) -> None:
    """Whoever damaged it reads which file it is and how to begin again."""
    (tmp_path / "0.json").write_text("{")
    with pytest.raises(AttuneError, match=r"0\.json is no checkpoint") as refused:
        Part(tmp_path, 0)
    assert "delete" in refused.value.hint
