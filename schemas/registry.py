"""Two registries behind one protocol: the embedded one, and any server that speaks the Confluent Schema Registry API.

The embedded registry's ids are those of `schemas/avro/ids.yaml`. A remote one gives ids of its own: `publish_all`
registers this contract there and returns a codec with those ids, `resolve` teaches a codec the ids that others
registered.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from ssl import SSLContext
from time import monotonic
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import quote

import aiohttp

from schemas import versions
from schemas.codec import Codec
from schemas.errors import RegistryRefused, RegistryUnavailable, UnknownSchema

COMPATIBILITY: Final = "BACKWARD_TRANSITIVE"
UNKNOWN_FOR_SECONDS: Final = 10.0
"""How long an answer "unknown" is believed: a poisoned topic must not ask for every record."""
_UNKNOWN_KEPT: Final = 1_000

_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_DEPTH_OF_REFERENCES: Final = 16
_NOT_FOUND: Final = (40401, 40402, 40403)
"""The API's own words for no such subject, version, schema; a plain 404 is a wrong URL and no such answer."""
_REFUSALS: Final = (400, 409, 422)
_HINTS: Final = {
    401: "; check the registry's user, password or token",
    403: "; check what the registry's user may do",
    404: "; check the registry's URL: this is no answer of a schema registry",
}

Schema = versions.Schema


class Registry(Protocol):
    """Knows schemas by id."""

    async def schema(self, schema_id: int) -> Schema:
        """Return the schema of an id; UnknownSchema when nobody has it, RegistryUnavailable when nobody answers."""
        ...

    async def register(self, subject: str, schema: Schema) -> int:
        """Make a schema the newest of a subject and return its id; RegistryRefused when it is incompatible."""
        ...

    async def incompatibilities(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return what keeps a schema from being registered under a subject; empty when nothing does."""
        ...


def subject_of(topic: str, besides: str | None = None) -> str:
    """Return the subject of a topic's values: by TopicNameStrategy for the one schema that the catalogue names.

    `besides` is the name of another type that the topic also carries (control records); a subject holds one type,
    so that one gets `<topic>-<full name>`, TopicRecordNameStrategy's.
    """
    return f"{topic}-value" if besides is None else f"{topic}-{versions.NAMESPACE}.{besides}"


class EmbeddedRegistry:
    """The schemas of this repository. It learns nothing new at run time."""

    async def schema(self, schema_id: int) -> Schema:
        """Return a published version by its id; UnknownSchema when no version has it."""
        try:
            return versions.BY_ID[schema_id].schema
        except KeyError:
            raise UnknownSchema(
                f"schema id {schema_id} is none of the embedded registry's ({', '.join(map(str, versions.BY_ID))}); "
                "a producer with a registry of its own needs ATTUNE_REGISTRY__URL to name it"
            ) from None

    async def register(self, subject: str, schema: Schema) -> int:
        """Return the id of a published version; RegistryRefused for a schema that is not committed."""
        version = versions.BY_FINGERPRINT.get(versions.fingerprint_of(schema))
        if version is None:
            raise RegistryRefused(f"{subject}: the schema is not committed in schemas/avro/history")
        return version.schema_id

    async def incompatibilities(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return nothing for a published version: the repository's tests check the others."""
        await self.register(subject, schema)
        return ()


class RemoteRegistry:
    """A client of a Confluent Schema Registry, Apicurio (path /apis/ccompat/v7), Karapace, Redpanda...

    `url` may have a path; `user` and `password` give basic authentication, `token` bearer authentication, `tls` an
    SSL context for https. Schemas by id never change and are kept; an unknown id is believed for 10 s. Use it as an
    async context manager.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls: SSLContext | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": f"{_CONTENT_TYPE}, application/json", "Content-Type": _CONTENT_TYPE}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        elif user is not None:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(user, password or "")
        self._tls: SSLContext | bool = True if tls is None else tls
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._known: dict[int, Schema] = {}
        self._unknown_until: dict[int, float] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def schema(self, schema_id: int) -> Schema:
        """Return the schema of an id, references resolved; errors as in the protocol."""
        if schema_id in self._known:
            return self._known[schema_id]
        if monotonic() < self._unknown_until.get(schema_id, 0.0):
            raise UnknownSchema(f"schema id {schema_id} is unknown to the registry {self._url}")
        found = await self._ask("GET", f"/schemas/ids/{schema_id}")
        if found is None:
            if len(self._unknown_until) >= _UNKNOWN_KEPT:
                self._unknown_until.clear()
            self._unknown_until[schema_id] = monotonic() + UNKNOWN_FOR_SECONDS
            raise UnknownSchema(f"schema id {schema_id} is unknown to the registry {self._url}")
        schema = await self._parse(found, f"schema id {schema_id}")
        self._known[schema_id] = schema
        return schema

    async def register(self, subject: str, schema: Schema) -> int:
        """Register a schema (again is harmless) and return its id; RegistryRefused when it is incompatible."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = await self._ask("POST", path, {"schema": json.dumps(schema)})
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), int):
            raise RegistryUnavailable(f"POST {self._url}{path}: expected an id, got {str(answer)[:200]}")
        self._known[answer["id"]] = schema
        return int(answer["id"])

    async def incompatibilities(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return the registry's objections to a schema, by the compatibility level set for its subject."""
        path = f"/compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"
        answer = await self._ask("POST", path, {"schema": json.dumps(schema)})
        if answer is None or answer.get("is_compatible", False):  # no such subject: anything goes
            return ()
        return tuple(map(str, answer.get("messages") or ["incompatible; the registry does not say why"]))

    async def require_compatibility(self, subject: str) -> None:
        """Set BACKWARD_TRANSITIVE for a subject: some servers start at NONE."""
        path = f"/config/{quote(subject, safe='')}"
        await self._ask("PUT", path, {"compatibility": COMPATIBILITY})

    async def _parse(self, found: Mapping[str, Any], what: str, depth: int = 0) -> Schema:
        if found.get("schemaType", "AVRO") != "AVRO":
            raise UnknownSchema(f"{what} is a {found['schemaType']} schema, this contract speaks Avro only")
        if depth > _DEPTH_OF_REFERENCES:
            raise UnknownSchema(f"{what} refers to schemas more than {_DEPTH_OF_REFERENCES} deep")
        try:
            schema = json.loads(found["schema"])
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryUnavailable(f"{self._url} answered {what} with what is no schema: {error}") from error
        definitions: dict[str, Schema] = {}
        for reference in found.get("references") or ():
            path = f"/subjects/{quote(reference['subject'], safe='')}/versions/{reference['version']}"
            referred = await self._ask("GET", path)
            if referred is None:
                raise UnknownSchema(f"{what} refers to {reference['name']}, which the registry does not have")
            definitions[reference["name"]] = await self._parse(referred, reference["name"], depth + 1)
        schema = inline(schema, definitions)
        if not isinstance(schema, Mapping):
            raise UnknownSchema(f"{what} is {schema!r}, no record")
        return schema

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer, or None where the registry says not found."""
        if self._session is None:
            raise RuntimeError("use the registry as `async with RemoteRegistry(url) as registry`")
        where = f"{method} {self._url}{path}"
        try:
            async with self._session.request(method, self._url + path, json=body, ssl=self._tls) as answer:
                status, text = answer.status, await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryUnavailable(f"{where}: {type(error).__name__} {error}") from error
        found = _json(text)
        if status == 404 and isinstance(found, dict) and found.get("error_code") in _NOT_FOUND:
            return None
        if status in _REFUSALS:
            raise RegistryRefused(f"{where}: {status} {text[:500]}")
        if status != 200 or found is None:
            hint = _HINTS.get(status, "")
            raise RegistryUnavailable(f"{where}: {status} {text[:500]}{hint}")
        return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def inline(schema: Any, definitions: dict[str, Schema]) -> Any:
    """Return a schema in which the first mention of each referred name is its definition; uses `definitions` up."""
    if isinstance(schema, str):
        return inline(definitions.pop(schema), definitions) if schema in definitions else schema
    if isinstance(schema, list):
        return [inline(item, definitions) for item in schema]
    if isinstance(schema, Mapping):
        inner = ("type", "items", "values")
        done = {key: inline(value, definitions) if key in inner else value for key, value in schema.items()}
        if isinstance(schema.get("fields"), list):
            done["fields"] = [inline(field, definitions) for field in schema["fields"]]
        return done
    return schema


async def publish_all(registry: Registry, subjects: Iterable[tuple[str, str]]) -> Codec:
    """Register every published version under its subjects, oldest first; return a codec with that registry's ids.

    `subjects` are pairs (subject, schema name), as the catalogue gives them.
    """
    ids: dict[str, int] = {}
    learnt: dict[int, Schema] = {}
    for subject, name in subjects:
        if isinstance(registry, RemoteRegistry):
            await registry.require_compatibility(subject)
        for version in versions.PUBLISHED:
            if version.name == name:
                ids[name] = await registry.register(subject, version.schema)
                learnt[ids[name]] = version.schema
    codec = Codec(ids)
    for schema_id, schema in learnt.items():
        codec.learn(schema_id, schema)
    return codec


async def resolve(codec: Codec, registry: Registry, schema_id: int) -> None:
    """Teach a codec one id, if it does not know it; errors as Registry.schema and Codec.learn."""
    if not codec.knows(schema_id):
        codec.learn(schema_id, await registry.schema(schema_id))
