"""This machine: what every command of Attune needs, whatever the cluster does."""

import resource
import shutil
import sys
from pathlib import Path
from typing import Final

from aiokafka import codec

from agents.ops.doctor.finding import Finding, failed, not_known, ok, warning
from agents.settings import Settings

SECRET: Final = "privacy.secret"  # noqa: S105 - the name of a setting
CODECS: Final = "codecs"
PYTHON: Final = "python"
FILES: Final = "open files"
DISK: Final = "disk"
_SHORTEST_SECRET: Final = 32
_OLDEST_PYTHON: Final = (3, 11)
_FEW_FILES, _TOO_FEW_FILES = 1_024, 256
_LITTLE_SPACE, _NO_SPACE = 2_000_000_000, 100_000_000
_LITTLE_SHARE: Final = 0.05
_WITH_SECRET: Final = ("router", "channels", "api", "auditors")
"""The roles that make a surrogate of an identifier."""


def look(settings: Settings, role: str | None, *, embedded: bool) -> list[Finding]:
    """Look at secret, codecs, Python, open files and disk; makes nothing, no secret either."""
    return [
        _secret(settings, role, embedded=embedded),
        *without_settings(),
        disk(settings.home),
    ]


def without_settings() -> list[Finding]:
    """Look at what does not depend on any setting."""
    return [_codecs(), python(sys.version_info[:2]), files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]


def _secret(settings: Settings, role: str | None, *, embedded: bool) -> Finding:
    if settings.privacy.secret is not None:  # that it is long enough is checked when settings are read
        return ok(SECRET, "set")
    file = settings.home / "secret"
    why = "customers' pseudonyms are made with it: without it nobody is found, with a weak one they can be guessed"
    made = "python3 -c 'import secrets; print(secrets.token_hex(32))' makes one"
    if file.exists():
        return _secret_in(file, why, made)
    if embedded:
        return ok(SECRET, f"none yet: the embedded platform's is made at its first use, {file}")
    if role is not None and role not in _WITH_SECRET:
        return ok(SECRET, f"not set, and the role {role} does not use it")
    remedy = f"set ATTUNE_PRIVACY__SECRET, the same for every worker and kept outside the log; {made}"
    return failed(SECRET, f"not set, and there is no {file}", why, remedy)


def _secret_in(file: Path, why: str, made: str) -> Finding:
    try:
        length = len(file.read_bytes())
    except OSError as error:
        return failed(SECRET, f"{file} cannot be read: {error.strerror}", why, f"let this user read {file}")
    if length >= _SHORTEST_SECRET:
        return ok(SECRET, f"kept in {file}")
    remedy = (
        f"put the right one back into {file} or ATTUNE_PRIVACY__SECRET, the same for every worker; for a new "
        f"installation {made}"
    )
    return failed(SECRET, f"{file} holds {length} bytes, fewer than {_SHORTEST_SECRET}", why, remedy)


def _codecs() -> Finding:
    lacking = [
        name
        for name, has in (("snappy", codec.has_snappy), ("lz4", codec.has_lz4), ("zstd", codec.has_zstd))
        if not has()
    ]
    if not lacking:
        return ok(CODECS, "snappy, lz4, zstd, gzip")
    why = "channels choose their own compression: a worker cannot read what is compressed so and stops there"
    return failed(CODECS, f"{', '.join(lacking)} cannot be read", why, f"{sys.executable} -m pip install cramjam")


def python(version: tuple[int, ...]) -> Finding:
    """Judge a version of Python."""
    shown = ".".join(map(str, version))
    if version >= _OLDEST_PYTHON:
        return ok(PYTHON, shown)
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    return failed(PYTHON, shown, "Attune uses what came with newer versions", f"install Python {oldest} or newer")


def files(limit: int) -> Finding:
    """Judge the limit of open files of a process; resource.RLIM_INFINITY is none."""
    if limit == resource.RLIM_INFINITY or limit >= _FEW_FILES:
        return ok(FILES, "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,}")
    judged = failed if limit < _TOO_FEW_FILES else warning
    why = "a worker has several connections to each broker; at the limit it can open none and loses its group"
    remedy = "`ulimit -n 65536` before it starts, LimitNOFILE=65536 in a systemd unit, or `ulimits` of a container"
    return judged(FILES, f"a process may open {limit:,}", why, remedy)


def disk(home: Path) -> Finding:
    """Judge the space that is left where `home` is, or will be."""
    there = next(folder for folder in (home.resolve(), *home.resolve().parents) if folder.exists())
    try:
        total, _, free = shutil.disk_usage(there)
    except OSError as error:
        return not_known(DISK, f"the disk of {there} cannot be looked at: {error.strerror}")
    return space(home, free, total)


def space(home: Path, free: int, total: int) -> Finding:
    """Judge so many free bytes of so many."""
    shown = f"{free / 1e9:.1f} GB of {total / 1e9:.1f} GB are free for {home}"
    if free >= _LITTLE_SPACE and free >= _LITTLE_SHARE * total:
        return ok(DISK, shown)
    judged = failed if free < _NO_SPACE else warning
    why = "outboxes, replays and the embedded platform write there: what cannot be written is not delivered"
    return judged(DISK, shown, why, f"free some space, or set ATTUNE_HOME to a folder on another disk ({home} now)")
