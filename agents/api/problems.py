"""Errors as RFC 9457 problem details.  No problem quotes what was asked for: it may name a person."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"
_URN: Final = "urn:attune:problem:"


class Problem(BaseModel):
    """What went wrong, and what to do next."""

    type: str = Field(description="identifies the kind of problem", examples=["urn:attune:problem:unknown-customer"])
    title: str = Field(description="the kind of problem in words, always the same", examples=["unknown customer"])
    status: int = Field(description="the HTTP status", examples=[404])
    detail: str = Field(description="this occurrence in words", examples=["the views contain no such customer"])
    hint: str = Field(default="", description="what to do next", examples=["see that the key is written as ..."])


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(
        self, status: int, kind: str, detail: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Take the status, the kind in words (its URN is made of them), and what is to be said."""
        super().__init__(detail)
        self.headers = headers
        self.problem = Problem(type=_URN + kind.replace(" ", "-"), title=kind, status=status, detail=detail, hint=hint)


def bad_key() -> ProblemError:
    """Return: the key names no customer."""
    return ProblemError(
        400,
        "bad key",
        "the key is neither `namespace:value` nor `attune:` with 32 hex digits",
        "write it as the channels do when they publish, e.g. loyalty:4711, percent-encoded",
    )


def unknown_customer() -> ProblemError:
    """Return: nothing is known of the customer, and the views are fresh."""
    return ProblemError(
        404,
        "unknown customer",
        "the views contain no such customer",
        "see that the key is written as the channels write it, and that privacy.secret here is the workers'",
    )


def unavailable(kind: str, detail: str, hint: str) -> ProblemError:
    """Return: nothing certain can be said now; asking again soon may help."""
    return ProblemError(503, kind, detail, hint, {"Retry-After": "1"})


def unauthorized() -> ProblemError:
    """Return: the bearer token is missing or another one."""
    return ProblemError(
        401,
        "unauthorized",
        "this service needs its bearer token",
        "send `Authorization: Bearer ...` with the token of setting api.token",
        {"WWW-Authenticate": "Bearer"},
    )


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of an operation for OpenAPI: problems of these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _SAYS[status], "content": content} for status in statuses}


_SAYS: Final = {
    400: "The key names no customer.",
    401: "The bearer token is missing or wrong.",
    404: "The views contain no such customer.",
    422: "A parameter has a value that it cannot have, is not known, or comes twice.",
    503: "Redis is away, there are no views yet, or they are stale and do not contain the customer.",
}


def install(app: FastAPI) -> None:
    """Make every error of an application a problem."""

    def own(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ProblemError)
        return _response(error)

    def http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        kind = "no such page" if error.status_code == 404 else str(error.detail).lower()
        hint = "the pages of this service are described in /openapi.json"
        return _response(ProblemError(error.status_code, kind, str(error.detail), hint, error.headers))

    def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        words = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return _response(ProblemError(422, "bad parameter", words, "see /openapi.json for what each may be"))

    def unforeseen(_request: Request, _error: Exception) -> JSONResponse:
        return _response(ProblemError(500, "internal error", "this service has failed", "its log says how"))

    described_before = app.openapi

    def openapi() -> dict[str, Any]:
        found = described_before()
        found["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    app.add_exception_handler(ProblemError, own)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def _response(error: ProblemError) -> JSONResponse:
    problem = error.problem
    headers = dict(error.headers or {})
    return JSONResponse(problem.model_dump(), problem.status, headers, media_type=MEDIA_TYPE)
