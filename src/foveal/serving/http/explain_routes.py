"""Heat maps over HTTP: made when first asked for, kept, and given again."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from foveal.serving.http.case_routes import CaseId
from foveal.serving.http.identity import Caller, require
from foveal.serving.service import Service

router = APIRouter(tags=["explain"])

Method = Annotated[str, Query(max_length=40, pattern="^[a-z0-9_+-]+$", description="a method of foveal explain")]
Target = Annotated[str | None, Query(max_length=200, description="the class explained; the leading one by default")]


@router.get("/v1/explain/{case_id}", responses={200: {"content": {"image/png": {}, "application/json": {}}}})
@router.post("/v1/explain/{case_id}", responses={200: {"content": {"image/png": {}, "application/json": {}}}})
async def explain(
    request: Request,
    case_id: CaseId,
    caller: Annotated[Caller, Depends(require("explain"))],
    method: Method = "gradcam",
    target: Target = None,
    judged: Annotated[bool, Query(description="measure the map, too: seconds")] = False,
) -> Response:
    """Return the map of where the classifier looked: grey, 0 to 1, in the image's own frame.

    With `Accept: application/json` its facts: method, stage, class, and where the map is kept.
    """
    service: Service = request.app.state.service
    found = await service.maps.map_of(case_id, method, target, caller.actor, judged=judged)
    if "application/json" in request.headers.get("accept", ""):
        return _json(found.facts)
    return Response(found.png, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})


def _json(facts: dict[str, Any]) -> Response:
    return Response(json.dumps(facts, ensure_ascii=False), media_type="application/json")
