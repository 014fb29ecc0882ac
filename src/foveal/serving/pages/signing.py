"""Signing a case: the form of a case's page, sent by the browser itself or by a script that keeps it while offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from foveal.serving.pages import words
from foveal.serving.pages.arriving import Posted, posted
from foveal.serving.pages.case_page import CaseId, Draft, show_case
from foveal.serving.pages.frame import PageRoute, elsewhere
from foveal.serving.pages.worklist import WantedHere, query_of
from foveal.serving.refusal import Refusal
from foveal.storage.accounts import actor_names
from foveal.storage.database import Database
from foveal.storage.problems import report_problem
from foveal.storage.reviews import Review, ReviewConflictError, ReviewRefusedError, add_review
from foveal.storage.worklist import Wanted, neighbours
from foveal.web.svg import printable

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Signing = Annotated[Posted, Depends(posted("review"))]
Reporting = Annotated[Posted, Depends(posted("read"))]


@router.post("/cases/{case_id}/review")
def review(request: Request, case_id: CaseId, wanted: WantedHere, form: Signing) -> Response:
    """Sign, and go on to the next case; what cannot be signed comes back with what was written."""
    service = request.app.state.service
    by_script = "application/json" in request.headers.get("accept", "")
    try:
        with service.database.write() as connection:
            made = add_review(
                connection,
                case_id=case_id,
                reviewer=form.caller.actor,
                verdict=form["verdict"],
                version=version_of(form["version"]),
                label=form["label"] if form["verdict"] == "amend" else None,
                reason=form["reason"],
                request_key=form["request_key"][:200] or None,
                classes=service.served.classes,
            )
    except ReviewRefusedError as error:
        newer = error.newer if isinstance(error, ReviewConflictError) else ()
        status = 409 if newer else 404 if error.code == "no_case" else 422
        if by_script:
            return _refused(service.database, error, newer, status)
        if status == 404:
            raise Refusal(404, "no_case", str(error)) from None
        draft = Draft(form["verdict"], form["label"], form["reason"], str(error), newer)
        return show_case(request, case_id, wanted, form.caller, draft=draft, status=status)
    if service.metrics is not None:
        service.metrics.review(made.verdict)
    after = _after(service.database, wanted, case_id)
    return JSONResponse({"review": made.id, "version": made.version, "next": after}) if by_script else elsewhere(after)


@router.post("/cases/{case_id}/problem")
def problem(request: Request, case_id: CaseId, wanted: WantedHere, form: Reporting) -> Response:
    """Report a problem with a case."""
    with request.app.state.service.database.write() as connection:
        report_problem(connection, reporter=form.caller.actor, description=form["description"], case_id=case_id)
    return elsewhere(f"/cases/{case_id}{query_of(wanted)}#problems")


def _after(database: Database, wanted: Wanted, case_id: str) -> str:
    """Return where to go after signing: the next case of the list, or the list when there is none."""
    with database.read() as connection:
        before, behind = neighbours(connection, wanted, case_id)
    following = behind or (before if wanted.view == "open" else None)
    if following is None or following == case_id:
        return f"/cases/{case_id}{query_of(wanted, signed=case_id)}"
    return f"/cases/{following}{query_of(wanted, signed=case_id)}"


def _refused(database: Database, error: ReviewRefusedError, newer: Sequence[Review], status: int) -> Response:
    body: dict[str, object] = {"error": {"code": error.code, "message": str(error)}}
    if isinstance(error, ReviewConflictError):
        with database.read() as connection:
            names = actor_names(connection, [one.reviewer for one in newer])
        body["difference"] = {
            "version": error.version,
            "newer": [
                {
                    "who": printable(names[one.reviewer]),
                    "when": words.moment(one.made_at),
                    "said": words.verdict(one.verdict, one.label),
                    "reason": printable(one.reason or ""),
                    "version": one.version,
                }
                for one in newer
            ],
        }
    return JSONResponse(body, status)


def version_of(text: str) -> int:
    """Return the version of a case that a form names; -1, which no case has, where that is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
