"""Quarantine: what the service held back instead of trying it for ever."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import Connection

from foveal.errors import UsageError
from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import Posted, posted, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.serving.pages.signing import version_of
from foveal.storage import jobs, trail
from foveal.storage.reviews import add_review
from foveal.storage.tables import cases
from foveal.storage.worklist import Wanted, page_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Administering = Annotated[Posted, Depends(posted("admin"))]


@router.get("/admin/quarantine")
def quarantine(request: Request, caller: Annotated[Caller, Depends(viewer("admin"))]) -> Response:
    """List the cases and the jobs that are held back."""
    with request.app.state.service.database.read() as connection:
        held = page_of(connection, Wanted("quarantined"), limit=200)
        of_jobs = jobs.quarantined(connection)
        counts = jobs.counts(connection)
    job_of = {one.case_id: one for one in of_jobs if one.kind == "predict"}
    others = [one for one in of_jobs if one.kind != "predict"]
    return show(
        request,
        "quarantine.html.jinja",
        caller,
        title="Quarantine",
        held=held,
        job_of=job_of,
        others=others,
        counts=counts,
    )


@router.post("/admin/quarantine/{case_id}/retry")
def retry(request: Request, case_id: str, form: Administering) -> Response:
    """Let a case be answered once more."""
    database = request.app.state.service.database
    with database.read() as connection:
        known = [one.id for one in jobs.quarantined(connection) if (one.case_id, one.kind) == (case_id, "predict")]
    if known:
        jobs.requeue(database, known[0], form.caller.actor)
    else:
        with database.write() as connection:
            _queue_again(connection, case_id, form.caller.actor)
    return elsewhere("/admin/quarantine")


@router.post("/admin/quarantine/jobs/{job_id}/retry")
def retry_job(request: Request, job_id: int, form: Administering) -> Response:
    """Let a job be done once more."""
    jobs.requeue(request.app.state.service.database, job_id, form.caller.actor)
    return elsewhere("/admin/quarantine")


@router.post("/admin/quarantine/{case_id}/release")
def release(request: Request, case_id: str, form: Administering) -> Response:
    """Take a case out of the list without an answer, with a reason: it is rejected, and stays where it is."""
    with request.app.state.service.database.write() as connection:
        add_review(
            connection,
            case_id=case_id,
            reviewer=form.caller.actor,
            verdict="reject",
            version=version_of(form["version"]),
            reason=form["reason"],
        )
    return elsewhere("/admin/quarantine")


def _queue_again(connection: Connection, case_id: str, actor: str) -> None:
    """Queue a case that was held back before it ever was a job."""
    changed = connection.execute(
        cases.update().where(cases.c.id == case_id, cases.c.state == "quarantined").values(state="waiting", reason=None)
    )
    if not changed.rowcount:
        raise UsageError("The case is not held back any more.")
    job_id = jobs.add(connection, "predict", case_id)
    trail.append(connection, [trail.Event("requeued", actor, case_id, {"job": job_id, "job_kind": "predict"})])
