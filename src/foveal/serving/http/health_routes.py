"""How the service is: alive, ready, what it is, and its figures."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from foveal.serving.answer import DISCLAIMER, iso
from foveal.serving.http.identity import address_of, require
from foveal.serving.metrics import CONTENT_TYPE
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service
from foveal.serving.settings import is_loopback

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@router.get("/health/ready", responses={503: {"description": "Not ready; each check says why"}})
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """Say whether requests can be taken now: not while the service stops, or its store is away."""
    service: Service = request.app.state.service
    found = await service.readiness()
    if not found.ready:
        response.status_code = 503
    return {"ready": found.ready, "checks": found.checks}


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """Say what answers here, and how it may be used."""
    service: Service = request.app.state.service
    facts = service.served.facts()
    return {
        "service": "foveal",
        "version": version("foveal"),
        "started_at": iso(service.started_at),
        "classifier": {
            name: facts[name] for name in ("name", "hash", "engine", "architecture", "classes", "threshold")
        },
        "limits": {
            "max_body_bytes": service.settings.max_body_bytes,
            "max_images": service.settings.max_images,
            "max_megapixels": service.settings.max_megapixels,
        },
        "documentation": "/openapi.json",
        "disclaimer": DISCLAIMER,
    }


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Return the figures in Prometheus' text format, to those whom the setting `metrics` names."""
    service: Service = request.app.state.service
    mode = service.settings.metrics
    if mode == "off":
        raise Refusal(404, "not_found", "There are no metrics here.")
    if mode == "loopback" and not is_loopback(address_of(request)):
        raise Refusal(403, "forbidden", "The metrics are for this machine only; see the setting metrics.")
    if mode == "key":
        await require("read")(request)
    return Response(await asyncio.to_thread(service.metrics.exposition), media_type=CONTENT_TYPE)
