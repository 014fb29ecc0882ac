"""Errors as they go out: JSON with a stable code and one sentence, whatever raised them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from foveal.errors import FovealError, ResourceError, StorageError
from foveal.serving.children.refused_image import RefusedImageError
from foveal.serving.logs import get_log
from foveal.serving.refusal import Refusal, overloaded
from foveal.storage.faults import BusyError, FullError, UnfitError

EXAMPLE: dict[str, Any] = {
    "error": {"code": "truncated", "message": "The image is cut off.", "request_id": "4c1f0e5a9d7b4e2f8a6b3c5d7e9f1a2b"}
}
CODES = {404: "not_found", 405: "method_not_allowed", 401: "unauthorized", 403: "forbidden"}


class Error(BaseModel):
    """What was wrong."""

    code: Annotated[str, Field(description="stable; for programs")]
    message: Annotated[str, Field(description="one sentence; for people")]
    request_id: Annotated[str, Field(description="under which the service's log tells of it")]
    case: Annotated[str, Field(description="where an image that was refused is kept for people")] = ""


class Problem(BaseModel):
    """How everything is told that is not done."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    error: Error


REFUSALS: dict[int | str, dict[str, Any]] = {  # of every operation; 422 is of images and verdicts, not of FastAPI's own
    "4XX": {"model": Problem, "description": "Refused: the code says why"},
    "5XX": {"model": Problem, "description": "Not now, or not at all: the code says why"},
}
GONE = 499  # in the log and the figures: the client left before its request was whole


def body_of_error(refusal: Refusal, request_id: str, *, case: str | None = None) -> dict[str, Any]:
    """Return the JSON object of a refusal; `case` is where an image that was kept for people lies."""
    told = {"code": refusal.code, "message": refusal.message, "request_id": request_id}
    return {"error": told if case is None else {**told, "case": case}}


def problem(
    refusal: Refusal, request_id: str, *, case: str | None = None, more: dict[str, Any] | None = None
) -> Response:
    """Return the response of a refusal, with `more` beside its error."""
    value = {**body_of_error(refusal, request_id, case=case), **(more or {})}
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(value, ensure_ascii=False), refusal.status, headers, media_type="application/json")


def refusal_of_image(error: RefusedImageError) -> Refusal:
    """Return the refusal of an image that cannot be used."""
    return Refusal(422, error.code, str(error))


def refusal_of_error(error: FovealError) -> Refusal:
    """Return what is told of an error of the service's own; its sentence may hold a path, so it is not passed on."""
    if isinstance(error, BusyError):
        return Refusal(503, "store_busy", "The store does not answer; nothing was kept. Ask again.", retry_after_s=2)
    if isinstance(error, FullError):
        return Refusal(507, "disk_full", "The disk is full; nothing was kept.", retry_after_s=30)
    if isinstance(error, UnfitError):
        return Refusal(422, "unfit_text", "The store cannot keep one of the texts, which holds a NUL or the like.")
    if isinstance(error, StorageError):
        return Refusal(503, "store_failed", "The store cannot be used; nothing was kept.", retry_after_s=10)
    if isinstance(error, ResourceError):
        return overloaded("The service lacks a process or memory for this; ask again.", 5)
    return Refusal(500, "failed", "The service could not answer; its log says why.")


def handle_errors(app: FastAPI) -> None:
    """Let every error of `app` go out as JSON with a code."""

    @app.exception_handler(Refusal)
    async def _refusal(request: Request, error: Refusal) -> Response:
        return problem(error, _request_id(request))

    @app.exception_handler(RefusedImageError)
    async def _image(request: Request, error: RefusedImageError) -> Response:
        return problem(refusal_of_image(error), _request_id(request))

    @app.exception_handler(FovealError)
    async def _error(request: Request, error: FovealError) -> Response:
        get_log().error("failed", request_id=_request_id(request), fault=type(error).__name__)
        return problem(refusal_of_error(error), _request_id(request))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:3])
        return problem(
            Refusal(400, "bad_request", f"The request is not as it should be: {said}."), _request_id(request)
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        code = CODES.get(error.status_code, "refused")
        answer = problem(Refusal(error.status_code, code, f"{error.detail}."), _request_id(request))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)  # whom nobody reads; or the limits of bodies have answered already

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        get_log().error("bug", request_id=_request_id(request), exc_info=error)
        return problem(Refusal(500, "failed", "The service failed; its log says why."), _request_id(request))


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))
