"""A small schema registry over HTTP, for tests: what the client uses of the Confluent API, with faults to order."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from schemas.compatibility import incompatibilities


class RegistryServer:
    """Keeps schemas by id and subject, counts requests, and can be told to fail."""

    def __init__(self) -> None:
        self.by_id: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self.requests: list[str] = []
        self.authorization: list[str | None] = []
        self.fail_with: int | None = None
        self.answer_text: str | None = None
        self.answer_headers: dict[str, str] = {}
        self.read_only = False
        self.delay_seconds = 0.0
        self.url = ""

    def add(self, schema_id: int, found: dict[str, Any], subject: str = "s") -> None:
        self.by_id[schema_id] = found
        self.subjects.setdefault(subject, []).append(schema_id)

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        self.authorization.append(request.headers.get("Authorization"))
        await asyncio.sleep(self.delay_seconds)
        if self.answer_text is not None:
            return web.Response(text=self.answer_text, status=self.fail_with or 200, headers=self.answer_headers)
        if self.fail_with is not None:
            return web.json_response({"error_code": self.fail_with * 100, "message": "told to"}, status=self.fail_with)
        if self.read_only and (request.method == "PUT" or request.path.endswith("/versions")):
            return web.json_response({"error_code": 40301, "message": "you may only read"}, status=403)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _schema(self, request: web.Request) -> web.Response:
        found = self.by_id.get(int(request.match_info["id"]))
        return web.json_response(found) if found else _missing(40403)

    async def _version(self, request: web.Request) -> web.Response:
        ids, number = self.subjects.get(request.match_info["subject"]), request.match_info["version"]
        if ids is None:
            return _missing(40401)
        version = len(ids) if number == "latest" else int(number)
        return web.json_response({"id": ids[version - 1], "version": version, **self.by_id[ids[version - 1]]})

    async def _find(self, request: web.Request) -> web.Response:
        subject, text = request.match_info["subject"], (await request.json())["schema"]
        if subject not in self.subjects:
            return _missing(40401)
        for number in self.subjects[subject]:
            if self.by_id[number]["schema"] == text:
                return web.json_response({"id": number})
        return _missing(40403)

    async def _register(self, request: web.Request) -> web.Response:
        subject, text = request.match_info["subject"], (await request.json())["schema"]
        again = any(self.by_id[number]["schema"] == text for number in self.subjects.get(subject, []))
        if not again and self._objections(subject, text):  # what is registered already is answered with its id
            return web.json_response({"error_code": 409, "message": "incompatible"}, status=409)
        known = {found["schema"]: number for number, found in self.by_id.items()}
        schema_id = known.get(text, 1 + max(self.by_id, default=100))
        self.by_id[schema_id] = {"schema": text}
        if schema_id not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(schema_id)
        return web.json_response({"id": schema_id})

    async def _compatible(self, request: web.Request) -> web.Response:
        subject, text = request.match_info["subject"], (await request.json())["schema"]
        if subject not in self.subjects:
            return _missing(40401)
        found = self._objections(subject, text)
        return web.json_response({"is_compatible": not found, "messages": found})

    async def _config(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.levels[request.match_info["subject"]] = body["compatibility"]
        return web.json_response(body)

    async def _level(self, request: web.Request) -> web.Response:
        level = self.levels.get(request.match_info["subject"])
        return _missing(40408) if level is None else web.json_response({"compatibilityLevel": level})

    def _objections(self, subject: str, text: str) -> list[str]:
        older = [json.loads(self.by_id[number]["schema"]) for number in self.subjects.get(subject, [])]
        return [reason for schema in older for reason in incompatibilities(json.loads(text), schema)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RegistryServer"]:
        """Serve on a free port of 127.0.0.1 under a path, as Apicurio does."""
        api = web.Application(middlewares=[self._faults])
        api.router.add_get("/schemas/ids/{id}", self._schema)
        api.router.add_get("/subjects/{subject}/versions/{version}", self._version)
        api.router.add_post("/subjects/{subject}", self._find)
        api.router.add_post("/subjects/{subject}/versions", self._register)
        api.router.add_post("/compatibility/subjects/{subject}/versions", self._compatible)
        api.router.add_get("/config/{subject}", self._level)
        api.router.add_put("/config/{subject}", self._config)
        root = web.Application()
        root.add_subapp("/apis/v7", api)
        runner = web.AppRunner(root)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/apis/v7"
        try:
            yield self
        finally:
            await runner.cleanup()


def _missing(code: int) -> web.Response:
    return web.json_response({"error_code": code, "message": "not found"}, status=404)
