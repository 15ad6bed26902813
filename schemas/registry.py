"""Two registries behind one protocol: the embedded one, and any server that speaks the Confluent Schema Registry API.

The embedded registry's ids are those of `schemas/avro/ids.yaml`. A remote one gives ids of its own: `publish_all`
registers there what is missing of this contract and returns a codec with those ids, `resolve` teaches a codec the ids
that others registered.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from ssl import SSLContext
from time import monotonic
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self
from urllib.parse import quote, unquote, urlsplit

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
_LARGEST_ID: Final = 2**31 - 1
"""Ids are signed: what is larger was given by no registry, and some answer it as they would a wrong URL."""
_NOT_FOUND: Final = (40401, 40402, 40403, 40408)
"""The API's own words for no such subject, version, schema, level; a plain 404 is a wrong URL and no such answer."""
_REFUSALS: Final = (400, 409, 422)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HINTS: Final = {
    401: "; check registry.user and registry.password, or registry.token",
    403: "; check what the registry lets the user of registry.user or registry.token do",
}
_NO_REGISTRY: Final = (
    "; check registry.url: this is no answer of a schema registry (the path of Apicurio's is /apis/ccompat/v7)"
)

Schema = versions.Schema
Version = versions.Version


class Registered(NamedTuple):
    """One version of a subject: its number there and its schema's id."""

    number: int
    schema_id: int


class Registry(Protocol):
    """Knows schemas by id."""

    async def schema(self, schema_id: int) -> Schema:
        """Return the schema of an id; UnknownSchema when nobody has it, RegistryUnavailable when nobody answers."""
        ...

    async def register(self, subject: str, schema: Schema) -> int:
        """Make a schema the newest of a subject and return its id; RegistryRefused when it is incompatible."""
        ...

    async def find(self, subject: str, schema: Schema) -> int | None:
        """Return the id of a schema that is registered under a subject, None when it is not."""
        ...

    async def newest(self, subject: str) -> Registered | None:
        """Return the newest version of a subject, None when there is no such subject."""
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

    async def find(self, subject: str, schema: Schema) -> int:
        """Return the id of a published version; RegistryRefused for a schema that is not committed."""
        return await self.register(subject, schema)

    async def newest(self, subject: str) -> Registered | None:
        """Return None: it has no subjects."""
        del subject
        return None

    async def incompatibilities(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return nothing for a published version: the repository's tests check the others."""
        await self.register(subject, schema)
        return ()


class RemoteRegistry:
    """A client of a Confluent Schema Registry, Apicurio (path /apis/ccompat/v7), Karapace, Redpanda...

    `url` may have a path, and user and password in it; `user` and `password` give basic authentication, `token` bearer
    authentication, `tls` an SSL context for https; ValueError for what no header can carry. Schemas by id never change
    and are kept; an unknown id is believed for 10 s. Use it as an async context manager.
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
        parts = urlsplit(url)
        if parts.username and user is None:
            user, password = unquote(parts.username), unquote(parts.password or "")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._headers = {"Accept": f"{_CONTENT_TYPE}, application/json", "Content-Type": _CONTENT_TYPE}
        if token is not None:
            if not (token.isascii() and token.isprintable()):
                raise ValueError("the registry's token holds a line break or another character that no header carries")
            self._headers["Authorization"] = f"Bearer {token}"
        elif user is not None:
            if ":" in user:
                raise ValueError("the registry's user holds a colon, which basic authentication cannot carry")
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
        if schema_id > _LARGEST_ID:
            raise UnknownSchema(f"schema id {schema_id} is larger than any that a registry gives")
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
        return self._keep(self._number(answer, "id", f"POST {self._url}{path}"), schema)

    async def find(self, subject: str, schema: Schema) -> int | None:
        """Return the id of a schema that is registered under a subject, None when it is not."""
        path = f"/subjects/{quote(subject, safe='')}"
        answer = await self._ask("POST", path, {"schema": json.dumps(schema)})
        if answer is None:
            return None
        return self._keep(self._number(answer, "id", f"POST {self._url}{path}"), schema)

    async def newest(self, subject: str) -> Registered | None:
        """Return the newest version of a subject, None when there is no such subject."""
        path = f"/subjects/{quote(subject, safe='')}/versions/latest"
        answer = await self._ask("GET", path)
        if answer is None:
            return None
        where = f"GET {self._url}{path}"
        return Registered(self._number(answer, "version", where), self._number(answer, "id", where))

    async def incompatibilities(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return the registry's objections to a schema, by the compatibility level set for its subject.

        Some registries (Apicurio) tell their reasons only where one registers.
        """
        path = f"/compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"
        answer = await self._ask("POST", path, {"schema": json.dumps(schema)})
        if answer is None or answer.get("is_compatible", False):  # no such subject: anything goes
            return ()
        return tuple(
            map(str, answer.get("messages") or ["incompatible; this registry says why only when one registers it"])
        )

    async def compatibility(self, subject: str) -> str | None:
        """Return the compatibility level of a subject, None where none is set for it alone.

        Apicurio tells its global level then, unless the subject does not exist.
        """
        answer = await self._ask("GET", f"/config/{quote(subject, safe='')}")
        return None if answer is None else str(answer.get("compatibilityLevel"))

    async def require_compatibility(self, subject: str) -> None:
        """Set BACKWARD_TRANSITIVE for a subject: some servers start at NONE."""
        try:
            await self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": COMPATIBILITY})
        except RegistryRefused:  # Apicurio's word where another sets it at the same moment
            if await self.compatibility(subject) != COMPATIBILITY:
                raise

    def _keep(self, schema_id: int, schema: Schema) -> int:
        self._known[schema_id] = schema
        return schema_id

    def _number(self, answer: Mapping[str, Any] | None, name: str, where: str) -> int:
        number = None if answer is None else answer.get(name)
        if not isinstance(number, int):
            raise RegistryUnavailable(f"{where}: expected a number `{name}`, got {str(answer)[:200]}{_NO_REGISTRY}")
        return number

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

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the JSON object that is the answer, or None where the registry says not found."""
        if self._session is None:
            raise RuntimeError("use the registry as `async with RemoteRegistry(url) as registry`")
        where = f"{method} {self._url}{path}"
        try:
            # Redirects are told: followed, a POST would become a GET, and what leads elsewhere loses its credentials.
            async with self._session.request(
                method, self._url + path, json=body, ssl=self._tls, allow_redirects=False
            ) as answer:
                status, text = answer.status, await answer.text(errors="replace")
                leads_to = answer.headers.get("Location", "nowhere")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryUnavailable(f"{where}: {type(error).__name__} {error}") from error
        found = _object(text)
        if status == 200 and found is not None:
            return found
        code = None if found is None else found.get("error_code")
        if status == 404 and code in _NOT_FOUND:
            return None
        said = f"{where}: {status} {text[:500] if found is None else found.get('message') or text[:500]}"
        if status in _REFUSALS and code is not None and method != "GET":
            raise RegistryRefused(said)
        if status in _REDIRECTS:
            raise RegistryUnavailable(f"{said}; it leads to {leads_to}: set registry.url so that nothing is redirected")
        unlike = status in (200, 404) or (status == 400 and code is None)
        raise RegistryUnavailable(said + (_NO_REGISTRY if unlike else _HINTS.get(status, "")))


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


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


class Held(NamedTuple):
    """What a subject holds of a schema's published versions: ids by their numbers, and what is to be registered.

    Once a version is there its predecessors stay out, since a registry only appends; of a subject that others filled
    only the newest is missing.
    """

    ids: Mapping[int, int]
    newest: Registered | None
    missing: tuple[Version, ...]


async def held(registry: Registry, subject: str, name: str) -> Held:
    """Ask a registry what a subject holds of a schema of this contract. Only reads."""
    history = [version for version in versions.PUBLISHED if version.name == name]
    newest = await registry.newest(subject)
    if newest is None:
        return Held({}, None, tuple(history))
    asked = {version.number: await registry.find(subject, version.schema) for version in history}
    ids = {number: schema_id for number, schema_id in asked.items() if schema_id is not None}
    last = max(ids, default=history[-1].number - 1)
    return Held(ids, newest, tuple(version for version in history if version.number > last))


async def publish_all(registry: Registry, subjects: Iterable[tuple[str, str]]) -> Codec:
    """Register what is missing of every published version, oldest first; return a codec with that registry's ids.

    `subjects` are pairs (subject, schema name), as the catalogue gives them. Where nothing is missing it only reads,
    so that credentials that may only read are enough.
    """
    ids: dict[str, int] = {}
    learnt: dict[int, Schema] = {}
    for subject, name in subjects:
        found = await held(registry, subject, name)
        if found.missing and isinstance(registry, RemoteRegistry):
            await registry.require_compatibility(subject)
        by_number = dict(found.ids)
        for version in found.missing:
            by_number[version.number] = await registry.register(subject, version.schema)
        for version in versions.PUBLISHED:
            if version.name == name and version.number in by_number:
                ids[name] = by_number[version.number]
                learnt[ids[name]] = version.schema
    codec = Codec(ids)
    for schema_id, schema in learnt.items():
        codec.learn(schema_id, schema)
    return codec


async def resolve(codec: Codec, registry: Registry, schema_id: int) -> None:
    """Teach a codec one id, if it does not know it; errors as Registry.schema and Codec.learn."""
    if not codec.knows(schema_id):
        codec.learn(schema_id, await registry.schema(schema_id))
