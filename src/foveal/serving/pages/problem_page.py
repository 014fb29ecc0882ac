"""Problems that people reported, and their answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import Posted, posted, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.storage.accounts import actor_names
from foveal.storage.problems import all_problems, close_problem, report_problem

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/problems")
def problems(request: Request, caller: Annotated[Caller, Depends(viewer("read"))]) -> Response:
    """List them, open ones first."""
    with request.app.state.service.database.read() as connection:
        found = all_problems(connection)
        names = actor_names(connection, {one.reporter for one in found})
    return show(request, "problems.html.jinja", caller, title="Problems", problems=found, names=names)


@router.post("/problems")
def report(request: Request, form: Annotated[Posted, Depends(posted("read"))]) -> Response:
    """Report a problem with the service as a whole."""
    with request.app.state.service.database.write() as connection:
        report_problem(connection, reporter=form.caller.actor, description=form["description"])
    return elsewhere("/problems")


@router.post("/problems/{problem_id}/close")
def close(request: Request, problem_id: str, form: Annotated[Posted, Depends(posted("admin"))]) -> Response:
    """Answer a problem and close it."""
    with request.app.state.service.database.write() as connection:
        close_problem(connection, problem_id, form["answer"], actor=form.caller.actor)
    return elsewhere("/problems")
