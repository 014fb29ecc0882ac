"""The page where images are tried: dropped or chosen, answered at once, kept as cases like any other."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from foveal.serving.http.identity import Caller, Identity
from foveal.serving.http.problems import refusal_of_image
from foveal.serving.http.uploads import checked_subject, images_of, read_form
from foveal.serving.intake import Outcome, Sender
from foveal.serving.pages.arriving import check_token, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.serving.refusal import Refusal

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Trying = Annotated[Caller, Depends(viewer("predict"))]


@router.get("/")
async def front(request: Request) -> Response:
    """Lead a guest to where images are tried, and a person to their work."""
    caller = await Identity.of(request).caller(request)
    if caller is None:
        raise Refusal(401, "unauthorized", "Sign in first.")
    return _page(request, caller) if caller.is_guest else elsewhere("/worklist")


@router.get("/try")
async def try_page(request: Request, caller: Trying) -> Response:
    """Show the page."""
    return _page(request, caller)


@router.post("/try")
async def answer(request: Request, caller: Trying) -> Response:
    """Answer the images of a form, for a browser without scripts."""
    service = request.app.state.service
    service.welcome()
    form = await read_form(request, service.settings.max_images)
    try:
        token = form.get("csrf")
        check_token(request, token if isinstance(token, str) else None)
        sent, subject = await images_of(request, most=service.settings.max_images)
    finally:
        await form.close()
    sender = Sender(caller.actor, "page", checked_subject(subject or None))
    with service.admitted(len(sent)):
        try:
            async with asyncio.timeout(service.settings.deadline_s):
                outcomes = await service.intake.answer_now(sent, sender)
        except TimeoutError:
            raise Refusal(503, "deadline", "The answer took too long; look for it in the worklist.") from None
    answers = [_told(one, name.name or "image") for one, name in zip(outcomes, sent, strict=True)]
    return _page(request, caller, answers)


def _page(request: Request, caller: Caller, answers: list[dict[str, Any]] | None = None) -> Response:
    service = request.app.state.service
    return show(
        request,
        "try.html.jinja",
        caller,
        title="Try images",
        scripts=("viewer", "try"),
        answers=answers or [],
        served=service.served,
        most=service.settings.max_images,
    )


def _told(outcome: Outcome, name: str) -> dict[str, Any]:
    if outcome.answer is None:
        refused = outcome.refused
        said = "It could not be answered." if refused is None else refusal_of_image(refused).message
        return {"name": name, "refused": said}
    answer = outcome.answer
    shares = sorted(answer["probabilities"].items(), key=lambda one: -float(one[1]))
    return {"name": name, "refused": "", "answer": answer, "shares": shares[:5]}
