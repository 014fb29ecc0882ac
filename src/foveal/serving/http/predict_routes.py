"""POST /v1/predict: images in, answers out, at once or later."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from foveal.serving.answer import DISCLAIMER
from foveal.serving.http import problems
from foveal.serving.http.identity import Caller, require
from foveal.serving.http.problems import body_of_error, problem, refusal_of_image
from foveal.serving.http.uploads import checked_key, checked_subject, images_of
from foveal.serving.intake import Outcome, Sender
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service

router = APIRouter(tags=["predict"])

EXAMPLE = {
    "request_id": "01j9z3k5h7",
    "answers": [
        {
            "case": "06fk2jw9m3q8c1x7v5t0zr4ebn",
            "prediction": "06fk2jw9m4a1d6s8g2h9kpy3xq",
            "label": "pneumonia",
            "leading": "pneumonia",
            "abstained": None,
            "probabilities": {"covid-19": 0.04, "normal": 0.11, "pneumonia": 0.85},
            "prediction_set": ["pneumonia"],
            "uncertainty": {"entropy_nats": 0.51},
            "threshold": "pneumonia from a probability of 0.31 (sensitivity >= 0.95)",
            "explanation": "/v1/explain/06fk2jw9m3q8c1x7v5t0zr4ebn",
            "classifier": {"name": "chest", "hash": "9f2c…", "engine": "openvino"},
            "input": {"sha256": "5b1d…", "size": 27410, "format": "PNG", "width": 256, "height": 256},
            "preprocessing": {},
            "latency_ms": 12.4,
            "received_at": "2026-01-31T09:30:00.000Z",
            "repeated": False,
            "disclaimer": DISCLAIMER,
        }
    ],
}
FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": FILES, "subject": {"type": "string", "maxLength": 128}},
                    "required": ["images"],
                }
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


def _said(description: str, example: dict[str, Any] = problems.EXAMPLE) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _said("An answer an image, in order", EXAMPLE),
    202: _said(
        "Kept; answered later",
        {"request_id": "01j9z3k5h7", "cases": [{"case": "06fk…", "state": "waiting", "href": "/v1/cases/06fk…"}]},
    ),
    400: _said("The request cannot be read"),
    401: _said("No key, or one that does not count"),
    403: _said("The key may not do this"),
    408: _said("The body came too slowly"),
    409: _said("The Idempotency-Key was used for another request, or is in use"),
    413: _said("Too large, or too many images"),
    415: _said("Neither an image nor a form"),
    422: _said("The image is refused"),
    429: _said("Too many requests of this caller"),
    503: _said("Too much to do, or the store is away; see Retry-After"),
    507: _said("The disk is full"),
}


@router.post("/v1/predict", responses=RESPONSES, openapi_extra=BODY, response_model=None)
async def predict(
    request: Request,
    caller: Annotated[Caller, Depends(require("predict"))],
    wait: Annotated[bool, Query(description="false: acknowledge when the images are kept, and answer later")] = True,
    subject: Annotated[str | None, Query(max_length=128, description="your pseudonym of whom they show")] = None,
) -> Response:
    """Say what images show. What is acknowledged is kept: the image, the answer, and a row of the trail."""
    service: Service = request.app.state.service
    key = checked_key(request.headers.get("idempotency-key"))
    service.welcome()
    sent, of_form = await images_of(request, most=service.settings.max_images)
    sender = Sender(caller.actor, "http", checked_subject(of_form or subject), key)
    with service.admitted(len(sent)):
        if not wait:
            return _accepted(request, await service.intake.receive(sent, sender))
        try:
            async with asyncio.timeout(service.settings.deadline_s):
                outcomes = await service.intake.answer_now(sent, sender)
        except TimeoutError:
            raise Refusal(
                503, "deadline", "The answer took too long; ask again with the same Idempotency-Key.",
                retry_after_s=2,
            ) from None  # fmt: skip
    names = [one.name for one in sent]
    return _answered(request, outcomes, names)


def _answered(request: Request, outcomes: list[Outcome], names: list[str | None]) -> Response:
    request_id = request_id_of(request)
    first = outcomes[0]
    if len(outcomes) == 1 and first.refused is not None:
        return problem(refusal_of_image(first.refused), request_id, case=first.case_id)
    answers: list[dict[str, Any]] = []
    for number, one in enumerate(outcomes):
        if one.refused is None:
            assert one.answer is not None
            answers.append(one.answer)
        else:
            told = body_of_error(refusal_of_image(one.refused), request_id, case=one.case_id)
            answers.append({**told, "image": number, "name": names[number] if number < len(names) else None})
    return _json(200, {"request_id": request_id, "answers": answers})


def _accepted(request: Request, case_ids: list[str]) -> Response:
    told = [{"case": one, "state": "waiting", "href": f"/v1/cases/{one}"} for one in case_ids]
    return _json(202, {"request_id": request_id_of(request), "cases": told})


def _json(status: int, value: dict[str, Any]) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


def request_id_of(request: Request) -> str:
    """Return the id of the request, which the outermost layer gave it."""
    return str(getattr(request.state, "request_id", ""))
