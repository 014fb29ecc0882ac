"""The web application: layers outside, routes inside, and the service that they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from foveal.errors import FovealError
from foveal.serving import pages
from foveal.serving.http import (
    case_routes,
    explain_routes,
    health_routes,
    key_routes,
    model_routes,
    open_inference,
    predict_routes,
    review_routes,
)
from foveal.serving.http.problems import REFUSALS, handle_errors
from foveal.serving.service import Service

DESCRIPTION = """Images in, answers out, and a record of everything.

Every error is `{"error": {"code", "message", "request_id"}}`: the code is stable, the message is one sentence for
people. Keys go into `Authorization: Bearer fv_…` or `X-API-Key`. Investigational; not for diagnosis.
"""


def make_app(service: Service) -> FastAPI:
    """Return the application that answers for `service`; its life spans the service's."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with service.running():
                yield
        except FovealError as error:  # told by whoever started the server, which would print a traceback
            service.failed = error
            raise

    app = FastAPI(
        title="Foveal", version=version("foveal"), description=DESCRIPTION, lifespan=life, redoc_url=None,
        docs_url=None, openapi_url="/openapi.json", responses=REFUSALS,
    )  # fmt: skip
    app.state.service = service
    handle_errors(app)
    for room in (
        predict_routes, explain_routes, case_routes, review_routes, model_routes, key_routes, health_routes,
        open_inference,
    ):  # fmt: skip
        app.include_router(room.router)
    pages.add_to(app)
    _describe_keys(app)
    return app


def _describe_keys(app: FastAPI) -> None:
    """Let OpenAPI say how a key is shown, so that programs made from it can; where guests are let in none is needed."""
    describe = app.openapi

    def with_keys() -> dict[str, Any]:
        described = describe()
        described["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer fv_…"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        described["security"] = [{"bearer": []}, {"key": []}, {}]
        return described

    app.openapi = with_keys  # type: ignore[method-assign]  # as FastAPI has it
