"""Reviews over HTTP: what people made of cases, for programs that bring their verdicts."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from foveal.errors import UsageError
from foveal.serving.answer import iso
from foveal.serving.http.case_routes import CaseId
from foveal.serving.http.identity import Caller, require
from foveal.serving.http.problems import problem
from foveal.serving.http.uploads import checked_key
from foveal.serving.refusal import Refusal
from foveal.serving.service import Service
from foveal.storage import problems, reviews, tables
from foveal.storage.cases import find_case
from foveal.storage.ids import PATTERN
from foveal.storage.reviews import Review, ReviewConflictError, ReviewRefusedError

router = APIRouter(tags=["reviews"])

Reviewing = Annotated[Caller, Depends(require("review"))]
Reading = Annotated[Caller, Depends(require("read"))]
NOT_THERE = ("no_case",)


class Verdict(BaseModel):
    """What a person says of a case."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"verdict": "amend", "label": "normal", "reason": "old scar", "version": 0}]},
    )

    verdict: Annotated[str, Field(max_length=20, description="accept, amend, reject or second-opinion")]
    version: Annotated[int, Field(ge=0, le=1 << 31, description="the version of the case that was seen")]
    label: Annotated[str | None, Field(max_length=200)] = None
    reason: Annotated[str | None, Field(max_length=reviews.LONGEST_REASON)] = None


class VerdictOf(Verdict):
    """What a person says of the case that it names."""

    case: Annotated[str, Field(pattern=PATTERN)]


class Report(BaseModel):
    """What went wrong, in a person's words."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"description": "the map is mirrored"}]})

    description: Annotated[str, Field(min_length=1, max_length=problems.LONGEST)]
    case: Annotated[str | None, Field(pattern=PATTERN)] = None


@router.get("/v1/reviews")
def list_reviews(
    request: Request,
    _: Reading,
    case: Annotated[str | None, Query(pattern=PATTERN)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[str | None, Query(pattern=PATTERN, description="the last id of the page before")] = None,
) -> dict[str, Any]:
    """List reviews, newest first."""
    service: Service = request.app.state.service
    c = tables.reviews.c
    wanted = select(tables.reviews).order_by(c.id.desc()).limit(limit)
    if case is not None:
        wanted = wanted.where(c.case_id == case)
    if before is not None:
        wanted = wanted.where(c.id < before)
    with service.database.read() as connection:
        rows = list(connection.execute(wanted).mappings())
    listed = [_told(Review(**{name: row[name] for name in Review.__dataclass_fields__})) for row in rows]
    return {"reviews": listed, "next": rows[-1]["id"] if len(rows) == limit else None}


@router.post("/v1/cases/{case_id}/reviews", status_code=201, responses={409: {"description": "reviewed meanwhile"}})
async def review(request: Request, case_id: CaseId, said: Verdict, caller: Reviewing) -> Any:
    """Say what the case is. `version` is the one that was seen: where others were faster, 409 tells the difference."""
    return await asyncio.to_thread(_review, request, case_id, said, caller)


@router.post("/v1/reviews", status_code=201, responses={409: {"description": "reviewed meanwhile"}})
async def review_of(request: Request, said: VerdictOf, caller: Reviewing) -> Any:
    """Say what the case that the body names is."""
    return await asyncio.to_thread(_review, request, said.case, said, caller)


@router.post("/v1/problems", status_code=201)
def report(request: Request, said: Report, caller: Reading) -> dict[str, Any]:
    """Report a problem, of a case or of the service."""
    service: Service = request.app.state.service
    with service.database.write() as connection:
        if said.case is not None and find_case(connection, said.case) is None:
            raise Refusal(404, "no_case", "There is no case with this id.")
        try:
            made = problems.report_problem(
                connection, reporter=caller.actor, description=said.description, case_id=said.case
            )
        except UsageError as error:  # nothing but blanks, say
            raise Refusal(422, "unfit_description", str(error)) from None
    return {"problem": made.id, "state": made.state}


def _review(request: Request, case_id: str, said: Verdict, caller: Caller) -> Any:
    service: Service = request.app.state.service
    key = checked_key(request.headers.get("idempotency-key"))
    try:
        with service.database.write() as connection:
            made = reviews.add_review(
                connection, case_id=case_id, reviewer=caller.actor, verdict=said.verdict, version=said.version,
                label=said.label, reason=said.reason, request_key=key, classes=service.served.classes,
            )  # fmt: skip
    except ReviewConflictError as error:
        refusal = Refusal(409, error.code, str(error))
        newer = {"seen": error.seen, "version": error.version, "newer": [_told(one) for one in error.newer]}
        return problem(refusal, str(getattr(request.state, "request_id", "")), more={"difference": newer})
    except ReviewRefusedError as error:
        raise Refusal(404 if error.code in NOT_THERE else 422, error.code, str(error)) from None
    service.metrics.review(made.verdict)
    return _told(made)


def _told(review: Review) -> dict[str, Any]:
    told = asdict(review)
    return {**told, "made_at": iso(review.made_at)}
