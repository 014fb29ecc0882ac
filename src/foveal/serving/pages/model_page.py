"""Classifiers: which one answers, which ones did, and the exchange of one for another."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import Connection, select

from foveal.errors import FovealError, StorageError
from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import Posted, posted, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.storage.tables import classifiers

router = APIRouter(route_class=PageRoute, include_in_schema=False)

ENGINES = ("auto", "openvino", "openvino-int8", "onnx", "onnx-int8", "torch")


@router.get("/admin/models")
async def models(request: Request, caller: Annotated[Caller, Depends(viewer("admin"))]) -> Response:
    """List them, the one that answers first."""
    return await _page(request, caller)


@router.post("/admin/models")
async def swap(request: Request, form: Annotated[Posted, Depends(posted("admin"))]) -> Response:
    """Let another classifier answer from now on; where it cannot, the one before goes on."""
    engine = form["engine"] if form["engine"] in ENGINES else "auto"
    try:
        await request.app.state.service.swap(form["path"].strip(), engine, form.caller.actor)
    except StorageError:
        raise
    except FovealError as error:
        said = f"{str(error).rstrip('.')}. The classifier before it still answers."
        return await _page(request, form.caller, said=said)
    return elsewhere("/admin/models")


async def _page(request: Request, caller: Caller, *, said: str = "") -> Response:
    service = request.app.state.service

    def read() -> list[dict[str, Any]]:
        with service.database.read() as connection:
            return _known(connection)

    known = await asyncio.to_thread(read)
    return show(
        request,
        "models.html.jinja",
        caller,
        title="Classifiers",
        status=422 if said else 200,
        known=known,
        serving=service.served,
        engines=ENGINES,
        said=said,
    )


def _known(connection: Connection) -> list[dict[str, Any]]:
    rows = connection.execute(select(classifiers).order_by(classifiers.c.loaded_at.desc())).mappings()
    return [{**row, "card": json.loads(row["card"])} for row in rows]
