"""Cases over HTTP: the list, one of them, its image, and its erasure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from foveal.serving.answer import case_json, iso
from foveal.serving.http.identity import Caller, require
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service
from foveal.storage.cases import ERASED, LONGEST_LIST, Case, Wanted, classifier_names, find_case, list_cases
from foveal.storage.ids import PATTERN
from foveal.storage.retention import erase_case

router = APIRouter(tags=["cases"])

CaseId = Annotated[str, Path(pattern="^[0-9a-hjkmnp-tv-z]{26}$", description="a case's id")]
SHOWN = ("state", "review", "leading", "probability", "uncertainty", "urgency", "version", "final_label", "subject")
Read = Annotated[Caller, Depends(require("read"))]


@router.get("/v1/cases")
def cases(
    request: Request,
    _: Read,
    state: Literal["waiting", "answered", "quarantined", "erased"] | None = None,
    review: Literal["open", "accept", "amend", "reject", "second-opinion"] | None = None,
    label: Annotated[str | None, Query(max_length=200)] = None,
    sender: Annotated[str | None, Query(max_length=200)] = None,
    abstained: bool | None = None,
    subject: Annotated[str | None, Query(max_length=128)] = None,
    since_us: Annotated[int | None, Query(ge=0, le=1 << 62)] = None,
    until_us: Annotated[int | None, Query(ge=0, le=1 << 62)] = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_LIST)] = 100,
    before: Annotated[str | None, Query(pattern=PATTERN, description="the last id of the page before")] = None,
) -> dict[str, Any]:
    """List cases, newest first; `next` is the `before` of the next page."""
    service: Service = request.app.state.service
    wanted = Wanted(state, review, label, sender, since_us, until_us, abstained, subject)
    with service.database.read() as connection:
        rows = list_cases(connection, wanted, limit=limit, before=before)
    listed = [
        {
            "case": row["id"], "received_at": iso(row["received_at"]), "abstained": row["abstained"],
            **{name: row[name] for name in SHOWN}, "href": f"/v1/cases/{row['id']}",
        }
        for row in rows
    ]  # fmt: skip
    return {"cases": listed, "next": rows[-1]["id"] if len(rows) == limit else None}


@router.get("/v1/cases/{case_id}")
def case(request: Request, case_id: CaseId, _: Read) -> dict[str, Any]:
    """Return a case with its image, its answer, and what people made of it."""
    service: Service = request.app.state.service
    with service.database.read() as connection:
        found = found_case(find_case(connection, case_id))
        names = classifier_names(connection)
    answered_by = found.prediction["classifier_hash"] if found.prediction is not None else ""
    return case_json(found, name=names.get(answered_by, ""))


@router.get("/v1/cases/{case_id}/image", responses={200: {"content": {"image/png": {}}}})
async def image(
    request: Request, case_id: CaseId, _: Read, longest: Annotated[int | None, Query(ge=16, le=4096)] = None
) -> Response:
    """Return the case's image as a PNG, as a viewer shows it; never the bytes that were sent."""
    service: Service = request.app.state.service
    picture = await service.maps.picture(case_id, longest)
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})


@router.delete("/v1/cases/{case_id}")
def erase(request: Request, case_id: CaseId, caller: Annotated[Caller, Depends(require("admin"))]) -> dict[str, Any]:
    """Erase the case's image, maps and names; the trail keeps that it was, and its hashes."""
    service: Service = request.app.state.service
    with service.database.read() as connection:
        found_case(find_case(connection, case_id))
    erase_case(service.database, service.blobs, case_id, caller.actor)
    return {"case": case_id, "state": ERASED}


def found_case(case: Case | None) -> Case:
    """Return `case`; Refusal where there is none."""
    if case is None:
        raise Refusal(404, "no_case", "There is no case with this id.")
    return case
