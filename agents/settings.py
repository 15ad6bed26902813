"""Settings: the file attune.toml, overridden by ATTUNE_* variables, overridden by flags.

A nested setting is written with two underscores: `[kafka] bootstrap` is ATTUNE_KAFKA__BOOTSTRAP.
"""

import contextlib
import difflib
import json
import os
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError

from agents.addresses import Brokers, HttpUrl, RedisUrl
from agents.errors import UsageError

FILE = Path("attune.toml")
PREFIX = "ATTUNE_"
_NOT_SETTINGS = ("ATTUNE_TEST_", "ATTUNE_SETTINGS_FILE")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KafkaSettings(_Section):
    """How every client reaches Kafka."""

    bootstrap: Brokers | None = Field(
        default=None, description="host:port[,host:port]; none means the embedded platform"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    replication_factor: int | None = Field(
        default=None, ge=1, description="overrides the catalogue's, e.g. 1 on one broker"
    )

    @model_validator(mode="after")
    def _complete(self) -> "KafkaSettings":
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs kafka.sasl_username and kafka.sasl_password")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("kafka.ssl_certfile and kafka.ssl_keyfile belong together")
        return self


class RedisSettings(_Section):
    """Where keys and views are kept."""

    url: RedisUrl | None = Field(default=None, description="redis://… or rediss://…; none means the embedded platform")


class RegistrySettings(_Section):
    """A schema registry beside the embedded one."""

    url: HttpUrl | None = Field(default=None, description="a server that speaks the Confluent Schema Registry API")
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None


class JournalSettings(_Section):
    """The journal's clock."""

    clock: Literal["wall", "watermarks"] = Field(
        default="wall", description="who moves event time: the coordinator or producers"
    )
    tick_seconds: float = Field(default=1.0, gt=0, le=60)


class PrivacySettings(_Section):
    """The secret that keys the digest of identifiers."""

    secret: SecretStr | None = Field(
        default=None, description="at least 32 characters; locally one is made under .attune/"
    )

    @model_validator(mode="after")
    def _strong(self) -> "PrivacySettings":
        if self.secret is not None and len(self.secret.get_secret_value()) < 32:
            raise ValueError("privacy.secret must have at least 32 characters")
        return self


class WorkerSettings(_Section):
    """Bounds of a worker."""

    max_batch_records: int = Field(default=2_000, ge=1)
    commit_seconds: float = Field(default=0.5, gt=0, le=60)
    memory_bytes: int | None = Field(
        default=None,
        ge=1,
        description="bytes that the encoded states of a fold may take; beyond it partitions wait for another worker",
    )
    instance: str | None = Field(default=None, description="a name that is stable across restarts makes them quick")


class MetricsSettings(_Section):
    """Where a process serves its metrics to Prometheus."""

    host: str = Field(default="127.0.0.1", description="the address to listen on; in a container 0.0.0.0")
    port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="none: off; 0: any free one, see the log; the roles of one `attune worker` take port, port + 1 ...",
    )


class ViewSettings(_Section):
    """The views in Redis and the topic of states."""

    redis_url: RedisUrl | None = Field(
        default=None, description="a Redis of their own, which may be lost: it is filled again; none means redis.url"
    )
    stale_seconds: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        description="a view that is not known to be whole for so long is stale: marketing is held",
    )
    publish_seconds: float = Field(
        default=0.5, gt=0, le=3_600, description="how often states go to their topic, the newest of each customer"
    )


class ApiSettings(_Section):
    """The HTTP service."""

    host: str = Field(default="127.0.0.1", description="any other than loopback needs api.token")
    port: int = Field(default=8080, ge=0, le=65_535, description="0: any free one, see the log")
    token: SecretStr | None = Field(default=None, description="readers send it as `Authorization: Bearer …`")
    redis_seconds: float = Field(default=0.25, gt=0, lt=1, description="an answer waits no longer than this for Redis")

    @model_validator(mode="after")
    def _strong(self) -> "ApiSettings":
        if self.token is not None and len(self.token.get_secret_value()) < 16:
            raise ValueError("api.token must have at least 16 characters")
        return self


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: Path = Field(default=Path(".attune"), description="data of the embedded platform, secrets, outboxes")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    registry: RegistrySettings = RegistrySettings()
    journal: JournalSettings = JournalSettings()
    privacy: PrivacySettings = PrivacySettings()
    worker: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings = MetricsSettings()
    views: ViewSettings = ViewSettings()
    api: ApiSettings = ApiSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put flags before the environment before the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())

    @property
    def views_url(self) -> str | None:
        """Where the views are. Keys of sealed data stay at `redis.url`, and must not be lost."""
        return self.views.redis_url or self.redis.url

    def identity_secret(self) -> bytes:
        """Return the secret of the identifiers' digest; for the embedded platform it is made once, mode 0600."""
        if self.privacy.secret is not None:
            return self.privacy.secret.get_secret_value().encode()
        path = self.home / "secret"
        if self.kafka.bootstrap is not None and not path.exists():
            raise UsageError(
                "no privacy.secret is set",
                f"set {PREFIX}PRIVACY__SECRET (the same for every worker, kept outside the log), or for a trial "
                f"write one to {path}",
            )
        with made(self.home):
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                return path.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            secret = secrets.token_hex(32).encode()
            file.write(secret)
        return secret


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder of the setting `home` and let the block begin to use it; UsageError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder} cannot be used: {error.strerror or error}",
            f"make {folder} a folder in which this user may write, or set {variable('home')} to one",
        ) from error


def settings_file() -> Path:
    """Return the settings file: ATTUNE_SETTINGS_FILE or ./attune.toml."""
    return Path(os.environ.get("ATTUNE_SETTINGS_FILE", FILE))


def load(**flags: Any) -> Settings:
    """Return the settings; `flags` are nested mappings that override.  Raises UsageError naming every mistake."""
    path = settings_file()
    if "ATTUNE_SETTINGS_FILE" in os.environ and not path.exists():
        raise UsageError(f"the settings file {path} does not exist", "correct ATTUNE_SETTINGS_FILE")
    try:
        in_file = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "it must be a TOML file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", 'it must be TOML, e.g. [kafka] then bootstrap = "host:9092"') from error
    mistakes = [*_unknown(in_file, str(path)), *_unknown_variables(), *_no_objects()]
    if mistakes:
        raise UsageError("; ".join(mistakes), "see `attune settings` for every name")
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise UsageError("; ".join(_explain(error, in_file, path)), "see `attune settings` for every name") from error
    except SettingsError as error:  # of a variable in small letters, which pydantic takes for the same
        raise UsageError(f"environment: {error}", "see `attune settings` for every name") from error


def names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and field of every setting."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from names(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def variable(name: str) -> str:
    """Return the environment variable of a dotted name."""
    return PREFIX + name.replace(".", "__").upper()


def _known() -> list[str]:
    return [name for name, _ in names()]


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _unknown(content: Mapping[str, Any], where: str) -> Iterator[str]:
    known = _known()
    sections = {name.partition(".")[0] for name in known if "." in name}
    for name in _flatten(content):
        if name in sections:
            yield f"{where}: {name} is a table: write [{name}] and its settings below"
        elif name not in known:
            yield f"{where}: there is no setting {name}{_nearest(name, known)}"


def _unknown_variables() -> Iterator[str]:
    known = {variable(name): name for name in _known()}
    sections = {variable(name) for name in Settings.model_fields}
    for name in sorted(os.environ):
        if (
            name.startswith(PREFIX)
            and not name.startswith(_NOT_SETTINGS)
            and name not in known
            and name not in sections
        ):
            yield f"environment: {name} is no setting{_nearest(name, list(known))}"


def _no_objects() -> Iterator[str]:
    """Yield what is wrong with variables that stand for a whole section."""
    for section, field in Settings.model_fields.items():
        given = os.environ.get(variable(section))
        if given is None or not isinstance(field.default, BaseModel):
            continue
        try:
            is_object = isinstance(json.loads(given), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            first = next(iter(type(field.default).model_fields))
            yield (
                f"{variable(section)}: it is no JSON object of the section {section}; set its settings one by "
                f"one, such as {variable(f'{section}.{first}')}"
            )


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: ValidationError, in_file: Mapping[str, Any], path: Path) -> Iterator[str]:
    written = set(_flatten(in_file))
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        section = name.partition(".")[0]
        place = next(
            (
                label
                for label, there in (
                    (variable(name), variable(name) in os.environ),
                    (variable(section), section != name and variable(section) in os.environ),
                    (f"{path}, {name}", name in written),
                )
                if there
            ),
            name or "settings",
        )
        said = problem["msg"].removeprefix("Value error, ")
        of = f"{name}: " if place == variable(section) and section != name else ""
        yield f"{place}: {of}{said}"
