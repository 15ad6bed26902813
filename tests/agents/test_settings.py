"""Settings with a mistake: what is wrong, where it stands, and what was meant; nothing starts with a guess."""

from pathlib import Path

import pytest

from agents import settings
from agents.errors import UsageError


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "attune.toml"
    monkeypatch.setenv("ATTUNE_SETTINGS_FILE", str(path))
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ATTUNE_KAFKA__BOOTSTRP", "h:9092", "is no setting; did you mean ATTUNE_KAFKA__BOOTSTRAP?"),
        ("ATTUNE_KAFKA_BOOTSTRAP", "h:9092", "is no setting; did you mean ATTUNE_KAFKA__BOOTSTRAP?"),
        ("ATTUNE_LOG_LEVEL", "LOUD", "ATTUNE_LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        (
            "ATTUNE_WORKER__MAX_BATCH_RECORDS",
            "many",
            "ATTUNE_WORKER__MAX_BATCH_RECORDS: Input should be a valid integer",
        ),
        ("ATTUNE_WORKER__COMMIT_SECONDS", "0", "greater than 0"),
        ("ATTUNE_JOURNAL__CLOCK", "wal", "Input should be 'wall' or 'watermarks'"),
        ("ATTUNE_PRIVACY__SECRET", "short", "privacy.secret must have at least 32 characters"),
        ("ATTUNE_KAFKA__SECURITY_PROTOCOL", "SASL_SSL", "needs kafka.sasl_username"),
    ],
)
def test_a_mistake_in_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    """A name that does not exist, a wrong type, a value out of bounds: wrong use, with the variable and the remedy."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as caught:
        settings.load()
    assert words in caught.value.message
    assert "attune settings" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[kafka]\nbootstrp = "h"', "there is no setting kafka.bootstrp; did you mean kafka.bootstrap?"),
        ("[worker]\nmax_batch_records = 0.5", "worker.max_batch_records: Input should be a valid integer"),
        ('[kafka]\nssl_certfile = "c.pem"', "belong together"),
        ("[kafka\n", "attune.toml: "),
    ],
)
def test_a_mistake_in_the_file(file: Path, content: str, words: str) -> None:
    """The same for the file, which is named."""
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        settings.load()
    assert words in caught.value.message


def test_all_mistakes_are_told_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown names together, wrong values together."""
    file.write_text("[worker]\ninstanc = 1")
    monkeypatch.setenv("ATTUNE_HOM", "x")
    with pytest.raises(UsageError, match=r"worker\.instanc.*ATTUNE_HOM"):
        settings.load()
    file.write_text("[worker]\ncommit_seconds = 0")
    monkeypatch.delenv("ATTUNE_HOM")
    monkeypatch.setenv("ATTUNE_LOG_LEVEL", "LOUD")
    with pytest.raises(UsageError) as caught:
        settings.load()
    assert {"ATTUNE_LOG_LEVEL", f"{file}, worker.commit_seconds"} <= {
        part.split(": ")[0] for part in caught.value.message.split("; ")
    }


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who names a file means it; without a name its absence is no error."""
    monkeypatch.chdir(tmp_path)
    assert settings.load().log_level == "INFO"
    monkeypatch.setenv("ATTUNE_SETTINGS_FILE", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"none\.toml does not exist"):
        settings.load()


def test_the_order_of_sources(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags override the environment, which overrides the file, which overrides the default, setting by setting."""
    file.write_text('log_level = "DEBUG"\n[kafka]\nbootstrap = "file"\nsecurity_protocol = "SSL"')
    monkeypatch.setenv("ATTUNE_KAFKA__BOOTSTRAP", "environment")
    found = settings.load(log_level="ERROR")
    assert (found.log_level, found.kafka.bootstrap, found.kafka.security_protocol) == ("ERROR", "environment", "SSL")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "cannot be read"),
        (b"kafka = 3", "kafka is a table: write [kafka]"),
        (b"[kafka", "Expected"),
    ],
)
def test_a_file_that_is_no_settings_file(file: Path, content: bytes, words: str) -> None:
    """Not UTF-8, a value where a table belongs, broken TOML: wrong use, with the file and what it must be."""
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        settings.load()
    assert words in caught.value.message
    assert str(file) in caught.value.message
