"""Settings with a mistake: what is wrong, where it stands, and what was meant; nothing starts with a guess."""

from pathlib import Path

import pytest

from agents import settings
from agents.clients import kafka
from agents.errors import UsageError
from agents.platform.local import LocalPlatform


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


SECRET = "s3cret-of-nobody"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        *(
            (name, value, words)
            for name in ("ATTUNE_REDIS__URL", "ATTUNE_VIEWS__REDIS_URL")
            for value, words in (
                ("http://x", "redis://host:6379/0"),
                ("", "redis://host:6379/0"),
                ("localhost:6379", "redis://host:6379/0"),
                ("redis://localhost:notaport", "its port"),
                ("redis://localhost:99999", "its port"),
                (f"redis://:{SECRET}/x@localhost:6379/0", "its port"),
                ("redis://", "names no host"),
                ("redis://[::1", "is no address"),
                ("redis://localhost/first", "its path"),
                ("redis://localhost/0?db=first", "db"),
                ("redis://localhost/0?colour=red", "colour"),
                ("unix://", "no path"),
            )
        ),
        *(
            ("ATTUNE_KAFKA__BOOTSTRAP", value, words)
            for value, words in (
                (":", "':' is no host:port"),
                ("", "'' is no host:port"),
                ("h:9092,", "'' is no host:port"),
                ("h:port", "'h:port' is no host:port"),
                ("h:0", "'h:0' is no host:port"),
                ("h:70000", "'h:70000' is no host:port"),
                ("kafka://h:9092", "'kafka://h:9092' is no host:port"),
                ("[::1:9092", "'[::1:9092' is no host:port"),
                ("h 9092", "'h 9092' is no host:port"),
            )
        ),
        ("ATTUNE_REGISTRY__URL", "registry:8081", "http://"),
        ("ATTUNE_REGISTRY__URL", "http://registry:port", "its port"),
        ("ATTUNE_KAFKA", "{bad", "ATTUNE_KAFKA__"),
        ("ATTUNE_KAFKA", "[" * 20_000, "ATTUNE_KAFKA__"),
        ("ATTUNE_KAFKA", "[]", "ATTUNE_KAFKA__"),
        ("ATTUNE_KAFKA", '{"bootstrap": ":"}', "no host:port"),
        ("ATTUNE_KAFKA", '{"bootstrp": "h"}', "bootstrp"),
    ],
)
def test_an_address_that_no_client_could_use(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    """It is wrong use before anything connects: one line that begins with the variable and quotes no password."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as caught:
        settings.load()
    assert caught.value.message.startswith(f"{variable}: ")
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ATTUNE_REDIS__URL", "redis://:p%2Fw@localhost:6379/3?socket_timeout=3"),
        ("ATTUNE_REDIS__URL", "rediss://ann:pw@[::1]:6380"),
        ("ATTUNE_REDIS__URL", "unix:///run/redis.sock?db=1"),
        ("ATTUNE_KAFKA__BOOTSTRAP", "one:9092, [::1]:9092,::1,two"),
        ("ATTUNE_KAFKA", '{"bootstrap": "h:9092"}'),
        ("ATTUNE_REGISTRY__URL", "https://registry/path"),
    ],
)
def test_addresses_that_clients_can_use(file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """What the clients understand is taken as it is written."""
    monkeypatch.setenv(variable, value)
    found = settings.load()
    assert (found.redis.url, found.kafka.bootstrap, found.registry.url).count(None) == 2


def test_a_section_in_small_letters(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pydantic takes it for the variable, so what is wrong with it is wrong use, too."""
    monkeypatch.setenv("attune_kafka", "{bad")
    with pytest.raises(UsageError, match="kafka"):
        settings.load()


FRACTIONS = [(name, field) for name, field in settings.names() if field.annotation is float]


@pytest.mark.parametrize("name", [name for name, _ in FRACTIONS])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400", "1e9"])
def test_no_time_is_without_end(file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Every setting that is a fraction is finite, a number, and has an upper bound."""
    monkeypatch.setenv(settings.variable(name), value)
    with pytest.raises(UsageError, match=settings.variable(name)):
        settings.load()


def test_the_settings_that_are_fractions_are_found() -> None:
    """The test above looks at something."""
    assert {"worker.commit_seconds", "views.stale_seconds", "journal.tick_seconds"} <= {name for name, _ in FRACTIONS}


@pytest.mark.parametrize("home", ["/proc/x", "FILE/below"])
def test_a_home_that_cannot_be_made(file: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """Wrong use, naming the folder and the variable: for the secret as for the embedded platform."""
    home = home.replace("FILE", str(file))
    monkeypatch.setenv("ATTUNE_HOME", home)
    for use in (lambda: settings.load().identity_secret(), LocalPlatform(Path(home)).start):
        with pytest.raises(UsageError) as caught:
            use()
        assert f"{home}" in caught.value.message
        assert "ATTUNE_HOME" in caught.value.hint


def test_a_secret_that_cannot_be_read(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that stands where the secret belongs is named."""
    (tmp_path / "secret").mkdir()
    monkeypatch.setenv("ATTUNE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=str(tmp_path / "secret")):
        settings.load().identity_secret()


@pytest.mark.parametrize(
    ("field", "content"),
    [("ssl_cafile", None), ("ssl_cafile", b"no certificate"), ("ssl_certfile", None), ("ssl_certfile", b"none")],
)
def test_a_certificate_that_cannot_be_used(file: Path, tmp_path: Path, field: str, content: bytes | None) -> None:
    """Wrong use, naming the variable and the file: where it is missing, and where it is no certificate."""
    path = tmp_path / "own.pem"
    if content is not None:
        path.write_bytes(content)
    paths = {field: path, "ssl_keyfile": path} if field == "ssl_certfile" else {field: path}
    connection = settings.KafkaSettings(bootstrap="h:1", security_protocol="SSL", **paths)  # type: ignore[arg-type]
    for make in (kafka.ssl_context, kafka.producer, kafka.faust_options):
        with pytest.raises(UsageError) as caught:
            make(connection)
        assert settings.variable(f"kafka.{field}") in caught.value.message
        assert str(path) in caught.value.message


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
