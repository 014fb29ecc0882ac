"""Classifiers over HTTP: which one answers, which ones did, and the exchange of one for another."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from foveal.errors import FovealError, StorageError
from foveal.serving.answer import iso
from foveal.serving.http.identity import Caller, require
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service
from foveal.serving.settings import Engine
from foveal.storage import tables

router = APIRouter(tags=["models"])


class Swap(BaseModel):
    """Which classifier shall answer from now on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"path": "runs/chest-2", "engine": "auto"}]}
    )

    path: Annotated[str, Field(min_length=1, max_length=4096, description="a run or classifier folder on the server")]
    engine: Engine = "auto"


@router.get("/v1/models")
def models(request: Request, _: Annotated[Caller, Depends(require("read"))]) -> dict[str, Any]:
    """Return the classifier that answers, and those that answered before it."""
    service: Service = request.app.state.service
    c = tables.classifiers.c
    with service.database.read() as connection:
        rows = connection.execute(select(c.hash, c.name, c.engine, c.card, c.loaded_at).order_by(c.loaded_at.desc()))
        known = [
            {**json.loads(row.card), "loaded_at": iso(row.loaded_at), "serving": row.hash == service.served.hash}
            for row in rows
        ]
    return {"serving": service.served.facts(), "models": known}


@router.post("/v1/models")
async def swap(request: Request, wanted: Swap, caller: Annotated[Caller, Depends(require("admin"))]) -> dict[str, Any]:
    """Load another classifier and let it answer from now on; requests under way end with the old one.

    It holds until the service is started again, which serves what it is told to then.
    """
    service: Service = request.app.state.service
    before = service.served.hash
    try:
        served = await service.swap(wanted.path, wanted.engine, caller.actor)
    except StorageError:
        raise
    except FovealError as error:
        raise Refusal(
            422, "unservable", f"{str(error).rstrip('.')}. The classifier before it still answers."
        ) from error
    return {"serving": served.facts(), "before": before}
