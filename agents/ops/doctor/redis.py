"""Redis or Valkey: whether it answers, and whether it keeps what it is given."""

from typing import Any, Final
from urllib.parse import urlsplit

import redis.exceptions as errors

from agents.addresses import without_password
from agents.ops.doctor.case import Case
from agents.ops.doctor.finding import Finding, Trouble, failed, not_known, ok, warning
from agents.ops.doctor.names import Address, open_port

KEYS: Final = "redis.url"
VIEWS: Final = "views.redis_url"
_PORT: Final = 6379
_NEARLY_FULL: Final = 0.9
_USERS: Final = ("router", "views", "api")
"""The roles that use Redis: for keys of sealed data, for views."""


async def look(case: Case, name: str) -> list[Finding]:
    """Look at the server of the setting `redis.url`, or at that of the views alone."""
    url = case.settings.redis.url if name == KEYS else case.settings.views.redis_url
    variable = f"ATTUNE_{name.replace('.', '__').upper()}"
    if url is None:
        return _not_set(case, name, variable)
    try:
        if not url.startswith("unix:"):
            parts = urlsplit(url)
            where = Address(parts.hostname or "", parts.port or _PORT)
            await open_port(name, where, setting=variable, server="Redis or Valkey")
        return await _ask(case, name, url, variable)
    except Trouble as trouble:
        return [trouble.finding()]


def _not_set(case: Case, name: str, variable: str) -> list[Finding]:
    if name == VIEWS:
        return []  # the views are kept at redis.url then
    if case.role is not None and case.role not in _USERS:
        return [ok(name, f"not set, and the role {case.role} does not use it")]
    why = "the router keeps the keys of sealed personal data there, the view agent its views"
    return [failed(name, "no server is set", why, f"set {variable}=redis://host:6379/0, or start `attune local up`")]


async def _ask(case: Case, name: str, url: str, variable: str) -> list[Finding]:
    shown = without_password(url)
    client = case.redis(url)
    try:
        found: dict[str, Any] = await client.info()
    except errors.AuthenticationError as error:
        why = "the router and the view agent wait for it"
        remedy = f"correct user and password in {variable}=redis://user:password@host:6379/0 (in a password / is %2F)"
        return [failed(name, f"{shown} refused the password: {error}", why, remedy)]
    except errors.NoPermissionError as error:
        return [not_known(name, f"{shown} answers; this user may not look at it: {error}", "allow it INFO: +info")]
    except (errors.RedisError, OSError) as error:
        refused = "NOAUTH" in str(error)
        if refused:
            remedy = f"write user and password into {variable}=redis://user:password@host:6379/0"
            return [failed(name, f"{shown} wants a password, and none is set", "nothing is kept or read", remedy)]
        why = "routers wait for it, and the HTTP service answers 503"
        remedy = (
            f"see whether Redis or Valkey runs there and is not frozen, and whether {variable} speaks TLS where the "
            "server does (rediss://) and not where it does not"
        )
        return [failed(name, f"{shown} does not answer: {error or type(error).__name__}", why, remedy)]
    finally:
        await client.aclose()
    wrong = [*_kind(name, shown, found), *_memory(name, shown, found)]
    if name == KEYS:
        wrong += _persistence(name, shown, found)
    version = found.get("valkey_version") or found.get("redis_version")
    return wrong or [ok(name, f"{shown} answers, version {version}, {_kept(found)}")]


def _kind(name: str, shown: str, found: dict[str, Any]) -> list[Finding]:
    if found.get("cluster_enabled") or found.get("redis_mode", found.get("server_mode")) == "cluster":
        why = "keys of several customers are asked for at once, and scripts touch several keys: a cluster refuses both"
        remedy = "use a server that is not in cluster mode (cluster-enabled no); a replica beside it is fine"
        return [failed(name, f"{shown} is in cluster mode", why, remedy)]
    if found.get("role") == "slave" and found.get("slave_read_only", 1):
        why = "a replica refuses writing: no key is made and no view is kept"
        return [failed(name, f"{shown} is a replica", why, f"point to its master, {found.get('master_host')}")]
    return []


def _memory(name: str, shown: str, found: dict[str, Any]) -> list[Finding]:
    policy, limit, used = found.get("maxmemory_policy", ""), found.get("maxmemory", 0), found.get("used_memory", 0)
    what = "keys of sealed personal data: what was sealed under them can never be read again"
    if name == VIEWS:
        what = "views of customers while their marks say that they are whole: the HTTP service answers wrongly"
    remedy = "CONFIG SET maxmemory-policy noeviction (and maxmemory-policy noeviction in its configuration file)"
    if str(policy).startswith("allkeys"):
        if limit:
            return [failed(name, f"{shown} evicts keys (maxmemory-policy {policy})", f"it throws away {what}", remedy)]
        why = f"as soon as somebody sets maxmemory it throws away {what}"
        return [warning(name, f"{shown} would evict keys (maxmemory-policy {policy}, no maxmemory)", why, remedy)]
    if limit and used > _NEARLY_FULL * limit:
        why = "when it is full it refuses to write, and the router waits"
        remedy = f"raise maxmemory (now {limit:,} bytes), or look what fills it: MEMORY STATS"
        return [warning(name, f"{shown} uses {used / limit:.0%} of its memory", why, remedy)]
    return []


def _persistence(name: str, shown: str, found: dict[str, Any]) -> list[Finding]:
    if found.get("aof_enabled"):
        if found.get("aof_last_write_status", "ok") == "ok":
            return []
        why = "keys that it gives out now are lost when it ends: what was sealed under them can never be read again"
        remedy = "see its log and the disk of its folder (CONFIG GET dir)"
        return [failed(name, f"{shown} cannot write its append-only file", why, remedy)]
    why = "it keeps the keys of sealed personal data: those of the time before it ends are lost, and with them the data"
    remedy = "CONFIG SET appendonly yes (and appendonly yes in its configuration file), and back its folder up"
    return [warning(name, f"{shown} keeps no append-only file", why, remedy)]


def _kept(found: dict[str, Any]) -> str:
    return "with an append-only file" if found.get("aof_enabled") else "in memory"
