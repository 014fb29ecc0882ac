"""API keys over HTTP: made (the secret is shown once), listed, revoked."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import UsageError
from foveal.serving.answer import iso
from foveal.serving.http.identity import Caller, require
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service
from foveal.storage import keys
from foveal.storage.ids import PATTERN, now_us
from foveal.storage.keys import Key

router = APIRouter(tags=["keys"])

Administering = Annotated[Caller, Depends(require("admin"))]


class Wanted(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "ward 3", "scopes": ["predict"], "expires_days": 365}]}
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[str], Field(min_length=1, max_length=8)]
    expires_days: Annotated[float | None, Field(gt=0, le=3650, allow_inf_nan=False)] = None


@router.get("/v1/keys")
def listed(request: Request, _: Administering) -> dict[str, Any]:
    """List the keys, without their secrets."""
    service: Service = request.app.state.service
    with service.database.read() as connection:
        return {"keys": [_told(one) for one in keys.all_keys(connection)]}


@router.post("/v1/keys", status_code=201)
def make(request: Request, wanted: Wanted, caller: Administering) -> dict[str, Any]:
    """Make a key. Its token is in this answer and nowhere else."""
    service: Service = request.app.state.service
    try:
        key, token = keys.make_key(
            service.database, wanted.name, wanted.scopes, actor=caller.actor, expires_days=wanted.expires_days
        )
    except UsageError as error:
        raise Refusal(422, "bad_key", str(error)) from None
    return {**_told(key), "token": token}


@router.delete("/v1/keys/{key_id}")
def revoke(request: Request, key_id: Annotated[str, Path(pattern=PATTERN)], caller: Administering) -> dict[str, Any]:
    """Revoke a key: within half a minute it is refused everywhere."""
    service: Service = request.app.state.service
    try:
        keys.revoke_key(service.database, key_id, actor=caller.actor)
    except UsageError:
        raise Refusal(404, "no_key", "There is no key with this id.") from None
    return {"key": key_id, "state": "revoked"}


def _told(key: Key) -> dict[str, Any]:
    return {
        "key": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "made_by": key.made_by,
        "made_at": iso(key.made_at),
        "expires_at": None if key.expires_at is None else iso(key.expires_at),
        "state": key.state(now_us()),
    }
