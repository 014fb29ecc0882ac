"""Keys: made here, shown once, revoked here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from foveal.errors import UsageError
from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import Posted, posted, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.storage import keys
from foveal.storage.accounts import SCOPES, actor_names
from foveal.storage.ids import now_us

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Administering = Annotated[Posted, Depends(posted("admin"))]


@router.get("/admin/keys")
def key_page(request: Request, caller: Annotated[Caller, Depends(viewer("admin"))]) -> Response:
    """List the keys."""
    return _page(request, caller)


@router.post("/admin/keys")
def make(request: Request, form: Administering) -> Response:
    """Make a key and show its token, this once."""
    try:
        days = float(form["days"]) if form["days"].strip() else None
        _, token = keys.make_key(
            request.app.state.service.database,
            form["name"],
            form.scopes,
            actor=form.caller.actor,
            expires_days=days,
        )
    except ValueError:
        return _page(request, form.caller, said="The number of days is not a number.")
    except UsageError as error:
        return _page(request, form.caller, said=str(error))
    return _page(request, form.caller, token=token)


@router.post("/admin/keys/{key_id}/revoke")
def revoke(request: Request, key_id: str, form: Administering) -> Response:
    """Revoke a key."""
    keys.revoke_key(request.app.state.service.database, key_id, actor=form.caller.actor)
    return elsewhere("/admin/keys")


def _page(request: Request, caller: Caller, *, said: str = "", token: str = "") -> Response:
    with request.app.state.service.database.read() as connection:
        found = keys.all_keys(connection)
        names = actor_names(connection, {one.made_by for one in found})
    return show(
        request,
        "api_keys.html.jinja",
        caller,
        title="Keys",
        status=422 if said else 200,
        keys=found,
        names=names,
        scopes=SCOPES,
        now=now_us(),
        said=said,
        token=token,
    )
