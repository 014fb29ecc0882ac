"""Users: the people who may sign in, one login each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from foveal.errors import UsageError
from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import Posted, posted, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.storage import accounts
from foveal.storage.passwords import SHORTEST

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Administering = Annotated[Posted, Depends(posted("admin"))]


@router.get("/admin/users")
def users(request: Request, caller: Annotated[Caller, Depends(viewer("admin"))]) -> Response:
    """List them, with what can be changed."""
    return _page(request, caller)


@router.post("/admin/users")
def add(request: Request, form: Administering) -> Response:
    """Add a person."""
    try:
        accounts.add_user(
            request.app.state.service.database,
            form["name"],
            form["password"],
            form["role"],
            actor=form.caller.actor,
        )
    except UsageError as error:
        return _page(request, form.caller, said=str(error), name=form["name"])
    return elsewhere("/admin/users")


@router.post("/admin/users/{user_id}")
def change(request: Request, user_id: str, form: Administering) -> Response:
    """Change one thing of a person: role, password, or whether they are let in."""
    database, actor = request.app.state.service.database, form.caller.actor
    try:
        if form["do"] == "role":
            accounts.set_role(database, user_id, form["role"], actor=actor)
        elif form["do"] == "disable":
            accounts.disable_user(database, user_id, actor=actor)
        elif form["do"] == "enable":
            accounts.enable_user(database, user_id, actor=actor)
        elif form["do"] == "password":
            accounts.set_password(database, user_id, form["password"], actor=actor)
        else:
            raise UsageError("The form does not say what to do.")
    except UsageError as error:
        return _page(request, form.caller, said=str(error))
    return elsewhere("/admin/users")


def _page(request: Request, caller: Caller, *, said: str = "", name: str = "") -> Response:
    with request.app.state.service.database.read() as connection:
        found = accounts.all_users(connection)
    return show(
        request,
        "users.html.jinja",
        caller,
        title="Users",
        status=422 if said else 200,
        users=found,
        roles=accounts.ROLES,
        said=said,
        name=name,
        shortest=SHORTEST,
    )
