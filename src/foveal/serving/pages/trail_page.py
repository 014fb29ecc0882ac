"""The trail: what happened, searched, and verified from its first row to its last."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select

from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import Posted, posted, viewer
from foveal.serving.pages.frame import PageRoute, show
from foveal.storage import heads, trail
from foveal.storage.accounts import actor_names
from foveal.storage.tables import trail as rows
from foveal.storage.tables import users

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PER_PAGE = 100
Text = Annotated[str, Query(max_length=200)]


@router.get("/admin/trail")
def search(
    request: Request,
    caller: Annotated[Caller, Depends(viewer("admin"))],
    subject: Text = "",
    kind: Text = "",
    actor: Text = "",
    after: Annotated[str, Query(max_length=18)] = "",
) -> Response:
    """Search the trail, the newest rows first, or from a row on."""
    return _page(request, caller, subject.strip(), kind.strip(), actor.strip(), after)


@router.post("/admin/trail/verify")
def verify(request: Request, form: Annotated[Posted, Depends(posted("admin"))]) -> Response:
    """Hold every row against its hash and the signed heads."""
    service = request.app.state.service
    folder = service.settings.data_folder
    public = folder / "keys" / "trail.pub"
    key = heads.public_key_of(public.read_text("ascii")) if public.is_file() else None
    signed = heads.read_heads(folder / "heads.jsonl") if (folder / "heads.jsonl").is_file() else []
    with service.database.read() as connection:
        found = trail.verify(connection, signed, key)
    return _page(request, form.caller, "", "", "", "", verdict=found)


def _page(
    request: Request,
    caller: Caller,
    subject: str,
    kind: str,
    actor: str,
    after: str,
    *,
    verdict: trail.Verdict | None = None,
) -> Response:
    from_row = int(after) if after.isascii() and after.isdigit() else 0
    with request.app.state.service.database.read() as connection:
        named = connection.execute(select(users.c.id).where(users.c.name == actor)).scalar() if actor else None
        found = trail.entries(
            connection,
            subject=subject or None,
            kind=kind or None,
            actor=f"user:{named}" if named else actor or None,
            after_seq=from_row,
            limit=PER_PAGE,
            newest_first=not from_row,
        )
        names = actor_names(connection, {one.actor for one in found})
        kinds = list(connection.execute(select(rows.c.kind).distinct().order_by(rows.c.kind)).scalars())
    return show(
        request,
        "trail.html.jinja",
        caller,
        title="Trail",
        entries=found,
        names=names,
        kinds=kinds,
        subject=subject,
        kind=kind,
        actor=actor,
        after=from_row or "",
        more=len(found) == PER_PAGE,
        verdict=verdict,
    )
